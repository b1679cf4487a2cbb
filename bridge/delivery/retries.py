"""Trying again, alone, what is set aside: rows that are held, and rows of places in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from bridge.core.backoff import silence_pause
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.aside import GONE_SECONDS, Shelf, parked
from bridge.delivery.held import Held
from bridge.delivery.places import Aside, Why
from bridge.delivery.tally import Tally
from bridge.spool import Row, Spool

TRIALS = 8
"""Maximum number of rows that are tried at a time, each alone on a channel."""

_AGAIN_SECONDS = 1.0
"""The pause after a retry that could not be made."""

_LOOK_AGAIN_SECONDS = 16.0
"""How long until another look at a place of which only held rows wait."""

_PARK_AGAIN_SECONDS = 60.0
_PARK_AGAIN_AT_MOST = 3600.0
"""Pauses after ``superoffice.parked`` refused what it was given, doubling: a message that is too
large for the broker closes the channel each time."""

log = structlog.get_logger()


class Retries:
    """Makes the trials that are due; ``under_way`` is how many have no outcome yet."""

    def __init__(
        self,
        spool: Spool,
        sender: Publisher,
        tally: Tally,
        shelf: Shelf,
        *,
        answered: Callable[[], None],
        is_taken: Callable[[int], bool],
        is_stored: Callable[[int], bool],
    ) -> None:
        """Call ``answered`` whenever the broker took or refused a retry.

        ``is_taken`` says whether a row is being published otherwise, ``is_stored`` whether the
        disk has answered that it has a row.
        """
        self._spool = spool
        self._sender = sender
        self._tally = tally
        self._shelf = shelf
        self._answered = answered
        self._is_taken = is_taken
        self._is_stored = is_stored
        self._loop = asyncio.get_running_loop()
        self.under_way = 0

    async def try_due(self, limit: int) -> bool:
        """Try again what is due, up to a limit; return whether anything was."""
        tried = False
        connection = self._sender.connection
        while limit > 0 and (it := self._shelf.next_due()) is not None:
            try:
                await (self._retry(it) if isinstance(it, Held) else self._try_place(it))
            except BaseException:  # the disk's, say: it must not be forgotten
                self._shelf.schedule(it, _AGAIN_SECONDS)
                raise
            tried = True
            limit = limit - 1 if self._sender.connection == connection else 0
        return tried

    # Rows that are held

    async def _retry(self, held: Held) -> None:
        if held.park_as is None and self._is_given_up(held, held.exchange):
            held.park_as = "exchange_gone"
        if held.seq in self._shelf.unresolved or not self._sender.can_publish_to(held.exchange):
            self._shelf.schedule(held, _AGAIN_SECONDS)
            return
        connection, was_stored = self._sender.connection, self._is_stored(held.seq)
        row = await self._spool.get(held.seq)
        if self._shelf.held.get(held.seq) is not held:  # the disk did not take it in the end
            return
        if row is None and was_stored:
            self._forget_gone(held)
            return
        if row is None or connection != self._sender.connection:
            # Not on disk yet, or what may be in flight on a new connection is to be asked first.
            self._shelf.schedule(held, _AGAIN_SECONDS if row is None else 0)
            return
        message = parked(row.message, held.park_as) if held.park_as else row.message
        publish = self._sender.try_alone(message, apart=held.apart)
        self.under_way += 1  # not before: what raised never has an outcome
        self._shelf.spend(held)
        self._hear(held, publish, lambda: self._retried(held, row, publish))

    def _forget_gone(self, held: Held) -> None:
        """Forget a row that somebody else has deleted."""
        if self._shelf.lets("spool_rows_gone"):
            log.error("spool_rows_gone", events=1)
        self._shelf.let_go(held)
        self._spool.delete(held)

    def _is_given_up(self, held: Held, exchange: str) -> bool:
        """Return whether a held row's exchange, too, is gone for too long."""
        now = self._loop.time()
        if self._sender.can_publish_to(exchange):
            held.gone_since = None
        elif held.gone_since is None:
            held.gone_since = now
        return held.gone_since is not None and now - held.gone_since >= GONE_SECONDS

    def _retried(self, held: Held, row: Row, publish: Publish) -> None:
        outcome = self._tried(publish, apart=held.apart)
        self._follow(row, publish, held.park_as)
        if outcome is not None and outcome.is_with_broker:
            self._shelf.let_go(held)
            self._finish(row, outcome, held.park_as)
        elif outcome is Outcome.NOT_SENT:  # that counts no try
            self._shelf.schedule(held, _AGAIN_SECONDS)
        elif held.park_as is not None and not self._is_lost(outcome):
            self._plan_parking(held, row)
        elif outcome is Outcome.REFUSED:
            held.tries += 1
            self._spool.note_tries(row, held.tries)
            if publish.culprit:
                self._shelf.note_closer(row, known=held.tries > 1)
            if self._shelf.held.condemn(held):
                self._shelf.plan_retry(held, row)
            else:
                self._set_aside(held, row, "refused")
        elif held.silent or held.apart or not self._is_silent(outcome):
            self._plan_trial(held, row)
        else:
            self._set_aside(held, row, "silent")

    def _plan_trial(self, held: Held, row: Row) -> None:
        """Try a row again, of which nothing was heard: that counts no try."""
        if (held.silent or held.apart) and not self._shelf.held.condemn(held):
            self._set_aside(held, row, "silent")
            return
        held.apart = held.apart or not self._sender.is_up
        held.unanswered += 1
        self._shelf.schedule(held, silence_pause(held.unanswered))

    def _set_aside(self, held: Held, row: Row, why: Why) -> None:
        """Blame the place of a row, of which too many are held, or which does not answer."""
        self._shelf.let_go(held)
        self._shelf.blame(row.message, why)
        self._shelf.pass_over(row, *self._shelf.books(row.seq))

    def _plan_parking(self, held: Held, row: Row) -> None:
        pause = min(_PARK_AGAIN_SECONDS * 2**held.parkings, _PARK_AGAIN_AT_MOST)
        held.parkings = min(held.parkings + 1, 16)
        log.error(
            "parking_refused",
            event_id=row.message.message_id,
            bytes=len(row.message.body),
            again_in_seconds=pause,
            remedy="make room in superoffice.parked, or raise RabbitMQ's max_message_size",
        )
        self._shelf.schedule(held, pause)

    # Places that are set aside

    async def _try_place(self, aside: Aside) -> None:
        """Try the next of the rows that take turns."""
        aside.trying = False
        self._shelf.spend(aside)
        if aside.recovering or aside not in self._shelf.places:
            return
        aside.heads.rotate(-1)
        free = [seq for seq in aside.heads if not (self._shelf.has(seq) or self._is_taken(seq))]
        connection = self._sender.connection
        row = await self._spool.get(free[-1]) if free else None
        if not aside.is_at_rest():
            return
        if row is not None and (self._shelf.has(row.seq) or self._is_taken(row.seq)):
            row = None
        if row is None or connection != self._sender.connection:
            if free and row is None:  # confirmed late, or not on disk yet: a sweep will tell
                aside.drop(free[-1])
            self._shelf.schedule(aside, self._look_for_heads(aside))
            return
        publish = self._sender.try_alone(row.message, apart=aside.apart)
        aside.trying, aside.idle = True, 0
        self.under_way += 1
        self._shelf.unresolved.add(row.seq)
        self._hear(aside, publish, lambda: self._place_tried(aside, row, publish))

    def _look_for_heads(self, aside: Aside) -> float:
        """Ask for a sweep if no row of a place can be tried; return when to look again.

        What is held of it is tried by itself.
        """
        if aside.heads:
            return _AGAIN_SECONDS
        if self._shelf.held.bytes_of(aside.place):
            return _LOOK_AGAIN_SECONDS
        self._shelf.wants_sweep = True
        aside.idle += 1
        return silence_pause(aside.idle)

    def _place_tried(self, aside: Aside, row: Row, publish: Publish) -> None:
        outcome = self._tried(publish, apart=aside.apart)
        aside.trying = False
        self._shelf.unresolved.discard(row.seq)
        self._follow(row, publish, None)
        self._shelf.wants_sweep |= aside.recovering or aside not in self._shelf.places
        if outcome is not None and outcome.is_with_broker:
            self._shelf.take_up(row)
            self._forget_head(aside, row)
            self._shelf.wants_sweep = True
            self._finish(row, outcome, None)
            return
        if publish.culprit:
            self._shelf.note_closer(row, known=True)
        if outcome is Outcome.REFUSED:
            self._spool.note_tries(row, row.tries + 1)
            if row.tries + 1 >= self._shelf.refused_tries and not self._shelf.held.is_full:
                self._forget_head(aside, row)
                self._shelf.take_up(row)
                self._shelf.hold(row, publish, park_as="refused")
        if outcome is not Outcome.NOT_SENT:
            aside.failures += 1
            aside.apart = aside.apart or (outcome is Outcome.UNKNOWN and not self._sender.is_up)
            pause = aside.pause()
            self._note_tried(aside, outcome, pause)
        else:
            pause = _AGAIN_SECONDS
        self._shelf.schedule(aside, pause)

    def _forget_head(self, aside: Aside, row: Row) -> None:
        aside.drop(row.seq)
        self._shelf.drop_head(row)  # it may be another place by now

    def _note_tried(self, aside: Aside, outcome: Outcome | None, pause: float) -> None:
        if self._shelf.lets("place_tried"):
            log.warning(
                "place_tried",
                place=aside.place,
                outcome=outcome.value if outcome else None,
                again_in_seconds=pause,
            )

    # Both

    def _hear(self, it: Held | Aside, publish: Publish, take: Callable[[], None]) -> None:
        """Take the outcome of a trial as soon as there is one."""

        def settled(_: Publish) -> None:
            try:
                take()
            except BaseException:  # without memory, say: no other trial is due
                self._shelf.schedule(it, _AGAIN_SECONDS)
                raise

        if publish.outcome is None:
            publish.on_settled(settled)
        else:
            take()  # ``try_due`` has another one made after an error

    def _tried(self, publish: Publish, *, apart: bool) -> Outcome | None:
        self.under_way -= 1
        outcome = publish.outcome
        answered = outcome is Outcome.REFUSED or self._is_silent(outcome)
        answered = answered or (outcome is not None and outcome.is_with_broker)
        if answered and not apart:
            self._answered()
        return outcome

    def _follow(self, row: Row, publish: Publish, park_as: str | None) -> None:
        """Publish a row no more while what was given up among others may still be confirmed."""
        if publish.straggler is not None:
            self._shelf.unresolved.add(row.seq)
            publish.straggler.on_settled(lambda late: self._heard_of(row, late, park_as))

    def _heard_of(self, row: Row, late: Publish, park_as: str | None) -> None:
        self._shelf.heard_of(row, late, park_as=park_as)
        self._tally.note(row, late.outcome, park_as=park_as, late=True)

    def _is_lost(self, outcome: Outcome | None) -> bool:
        return outcome is Outcome.UNKNOWN and not self._sender.is_up

    def _is_silent(self, outcome: Outcome | None) -> bool:
        return outcome is Outcome.UNKNOWN and self._sender.is_up

    def _finish(self, row: Row, outcome: Outcome, park_as: str | None) -> None:
        self._spool.delete(row)
        self._tally.note(row, outcome, park_as=park_as)
        if park_as is None:
            self._shelf.confirmed(row.message)
