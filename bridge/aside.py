"""Spooled rows that wait for something else than their turn (docs/decisions/0026).

*Held*: a row that the broker refused, or that may be why a channel was closed. It is remembered by
number, tried alone after growing pauses, and after the last try it is parked. Its record waits.
*Passed over*: every other row of a place that is set aside, or of a record with a row that waits.
Nothing is kept of those but the record, and that in bounded memory: they lie on the disk, where a
*sweep* reads them again, in the order of acceptance, as soon as one of them may go on.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count

import structlog

from bridge.core.backoff import refusal_pause, silence_pause
from bridge.core.held import Held, HeldRows, Key
from bridge.core.message import PARKED, Message, refused_message
from bridge.core.places import Aside, Places, Share, Why
from bridge.core.records import Records
from bridge.ports import Outcome, Publish, Sender
from bridge.spool import Row, Spool
from bridge.tally import Tally

GONE_SECONDS = 600.0
"""For how long events wait for an exchange that is not there, until they are parked."""

TRIALS = 8
"""Maximum number of rows that are tried at a time, each alone on a channel."""

_STRIKES = 4
"""Number of rows in a run, refused or silent, that set a place that was recovering aside again."""

_AGAIN_SECONDS = 1.0
"""The pause after a retry that could not be made."""

_PARK_AGAIN_SECONDS = 60.0
_PARK_AGAIN_AT_MOST = 3600.0
"""Pauses after ``superoffice.parked`` refused what it was given, doubling: a message that is too
large for the broker closes the channel each time."""

log = structlog.get_logger()


def key_of(row: Row) -> Key:
    """Return what a row is held with: its record, or itself."""
    return row.message.record or ("row", row.seq)


def _place(message: Message) -> tuple[str, str]:
    return message.exchange, message.routing_key


def parked(message: Message, reason: str) -> Message:
    """Return the copy of a message for ``superoffice.parked``."""
    time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return refused_message(message, reason=reason, time=time)


class Shelf:
    """What is set aside, and when it is tried again.

    ``wants_sweep`` is set when something that was passed over may go on. ``unresolved`` are rows
    whose publish may still be confirmed: none of them is published again before.
    """

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        tally: Tally,
        *,
        refused_tries: int,
        answered: Callable[[], None],
        is_taken: Callable[[int], bool],
        books: Callable[[int], list[Records]],
    ) -> None:
        """Call ``answered`` whenever the broker took or refused a retry.

        ``is_taken`` says whether a row is being published otherwise, ``books`` where it is
        written down that the record of a row waits.
        """
        self._spool = spool
        self._sender = sender
        self._tally = tally
        self._refused_tries = refused_tries
        self._answered = answered
        self._is_taken = is_taken
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._held = HeldRows()
        self.places = Places()
        self.passed = Records()
        self._due: list[tuple[float, int, Held | Aside]] = []
        self._order = count()
        self.unresolved: set[int] = set()
        self.wants_sweep = False
        self.under_way = 0
        self._behind = Share()
        """Of rows whose place is well, but whose record waits."""
        self._unparked = False
        """Whether rows were passed over because nothing more could be parked."""

    def __repr__(self) -> str:
        """Show how much is set aside."""
        return f"held {len(self._held)}, places {len(self.places)}, records {len(self.passed)}"

    @property
    def records(self) -> int:
        """Return how many records (and rows without one) wait, about."""
        return len(self.passed) + self._held.count_besides(self.passed)

    def holds_up(self, message: Message) -> bool:
        """Return whether a message must go behind something that is set aside."""
        return (
            self.places.of(message) is not None
            or self.holds(message)
            or message.record in self.passed
        )

    def holds(self, message: Message) -> bool:
        """Return whether the first row of a message's record is held."""
        return message.record is not None and message.record in self._held

    def has(self, seq: int) -> bool:
        """Return whether a row is held, or may still be confirmed."""
        return self._held.get(seq) is not None or seq in self.unresolved

    @property
    def can_park(self) -> bool:
        """Return whether one more row may be parked: what is refused there is held."""
        return not self._held.is_full and self._sender.takes(PARKED)

    def park_as(self, row: Row) -> str | None:
        """Return why a row is to be parked, if it is: nobody can read it, or its place is lost."""
        aside = self.places.of(row.message)
        lost = aside is not None and not self._sender.takes(row.message.exchange)
        return "spool_unreadable" if row.unreadable else aside.park_as if aside and lost else None

    def misses(self, message: Message) -> bool:
        """Return whether a message's exchange is not there, and set that aside if it is not."""
        exchange = message.exchange
        if not self._sender.is_up or self._sender.takes(exchange):
            return False
        if not self.places.is_gone(exchange):
            log.warning("exchange_gone", exchange=exchange, parked_in_seconds=GONE_SECONDS)
            self.places.gone(exchange, now=self._loop.time())
        return True

    def has_room_for(self, message: Message, *, free: int) -> bool:
        """Return whether the disk has room for a message, if it has so many bytes.

        What is set aside, of each place, takes no more than it leaves free for everybody else.
        """
        place = _place(message)
        held = self._held.bytes_of(place)
        if not (held or self.holds_up(message)):
            return True
        if held >= free and self.places.of(message) is None:
            self.blame(message, "refused")
        aside = self.places.of(message)
        if aside is None:
            return self._behind.bytes < free or not self.holds_up(message)
        if self.is_full(aside, free=free):
            if not aside.told:
                aside.told = True
                log.error("place_full", exchange=place[0], key=aside.name, bytes=aside.share.bytes)
            return False
        return True

    def is_full(self, aside: Aside, *, free: int) -> bool:
        """Return whether a place has had its share of the disk, if so many bytes are left."""
        return aside.share.bytes + self._held.bytes_of(aside.place[:2]) >= free

    def pass_over(
        self, row: Row, *books: Records, behind: bool = False, again: bool = False
    ) -> None:
        """Leave a row on the disk until the next sweep, and write down that its record waits.

        ``again``: a sweep has met it.
        """
        message = row.message
        aside = self.places.of(message)
        share = aside.share if aside is not None else self._behind
        share.take(row.size, again=again)
        record = message.record
        added = [record is None or book.add(record) for book in books]
        if aside is not None:
            aside.rows += 1
            if added[0] and not (behind or self.holds(message)):
                aside.offer(row.seq)

    def heard_of(self, row: Row, publish: Publish) -> None:
        """Take the outcome of a publish that was given up."""
        self.unresolved.discard(row.seq)
        self.wants_sweep = True
        outcome, held = publish.outcome, self._held.get(row.seq)
        if outcome is not None and outcome.accepted:
            self._spool.delete(row)
            self._drop_head(row)
            if held is not None:
                self._let_go(held)
            self.confirmed(row.message)
        elif held is None and (outcome is Outcome.REFUSED or publish.suspect):
            self.hold(row, publish)

    def begin_sweep(self) -> None:
        """Note which places recover from its beginning to its end."""
        self.wants_sweep = False
        for aside in self.places:
            aside.swept, aside.rows = aside.recovering, 0

    def end_sweep(self, passed: Records) -> None:
        """Trust the places again that recovered, and those of which nothing waits."""
        self.passed = passed
        self._behind.end_sweep()
        for aside in self.places:
            aside.share.end_sweep()
            gone = aside.why == "gone" and not aside.recovering
            empty = not (aside.rows or self._held.bytes_of(aside.place[:2]) or gone)
            if (aside.swept and aside.recovering) or empty:
                self.places.forget(aside)
            unswept = aside.recovering and not aside.swept and not self._unparked
            self.wants_sweep = self.wants_sweep or unswept

    def _drop_head(self, row: Row) -> None:
        if (aside := self.places.of(row.message)) is not None:
            aside.drop(row.seq)

    def hold(self, row: Row, publish: Publish, *, park_as: str | None = None) -> None:
        """Hold a row that was refused, or may have been the reason for the loss of a channel."""
        message = row.message
        suspect = publish.suspect or park_as is not None
        crowded = not self._held.has_room_for(_place(message))
        if not suspect and (crowded or self._strikes_out(message)):
            self.blame(message, "refused")
            if crowded:
                self.pass_over(row, *self._books(row.seq))
                return
        held = self._add(row)
        held.park_as = park_as
        if suspect:
            self._schedule(held, 0)
        else:
            self._plan_retry(held, row)

    def hold_apart(self, row: Row) -> None:
        """Hold a row under which the connection was lost again and again."""
        log.warning("event_suspected", event_id=row.message.message_id)
        held = self._add(row)
        held.apart = True
        self._schedule(held, 0)

    def note_silence(self, row: Row) -> bool:
        """Take note that a row is not confirmed in time; return whether it is held for that.

        While others of its place are confirmed it is blamed itself, and otherwise its place.
        """
        self.unresolved.add(row.seq)
        aside = self.places.of(row.message)
        answers = aside is not None and aside.recovering and aside.confirmed > 0
        alone = answers and self._held.has_room_for(_place(row.message))
        if not alone or self._strikes_out(row.message):
            self.blame(row.message, "silent")
            return False
        held = self._add(row)
        held.silent, held.unanswered = True, 1
        self._schedule(held, silence_pause(held.unanswered))
        return True

    def _add(self, row: Row) -> Held:
        key = ("row", row.seq) if row.unreadable else key_of(row)
        held = Held(row.seq, key, _place(row.message), row.size, row.tries)
        self._held.add(held)
        return held

    def blame(self, message: Message, why: Why) -> None:
        """Set the place of a message aside."""
        known = self.places.of(message)
        aside = self.places.blame(message, why, now=self._loop.time())
        if known is None:
            exchange, key, kind = aside.place
            log.warning("place_set_aside", exchange=exchange, key=key or kind, why=why)
        self._schedule(aside, aside.pause())

    def confirmed(self, message: Message) -> None:
        """Take note of a confirm: the place of the message takes something."""
        aside = self.places.of(message)
        if aside is None or aside.why == "gone":
            return
        aside.confirmed += 1
        aside.strikes = 0
        if not aside.recovering:
            aside.recovering = self.wants_sweep = True

    def remove(self, row: Row) -> None:
        """Forget a row that was never stored."""
        self.unresolved.discard(row.seq)
        self.wants_sweep = True
        if (held := self._held.get(row.seq)) is not None:
            self._let_go(held)

    def pass_over_unparked(self, row: Row, *books: Records, again: bool = False) -> None:
        """Leave a row on the disk until something can be parked again."""
        self._unparked = True
        self.pass_over(row, *books, again=again)
        if (aside := self.places.of(row.message)) is not None:
            aside.swept = False

    def look_at_exchanges(self) -> None:
        """Let the rows of an exchange that is there again go on; give up those of long ago."""
        now = self._loop.time()
        if self._unparked and self.can_park:
            self._unparked, self.wants_sweep = False, True
        for aside in self.places:
            if aside.why != "gone" or aside.recovering:
                continue
            if self._sender.is_up and self._sender.takes(aside.place[0]):
                aside.recovering = self.wants_sweep = True
            elif now - aside.since >= GONE_SECONDS:
                aside.park_as = "exchange_gone"
                aside.recovering = self.wants_sweep = True

    async def try_due(self, limit: int) -> bool:
        """Try again what is due, up to a limit; return whether anything was."""
        tried = False
        connection = self._sender.connection
        while limit > 0 and self._due and self._due[0][0] <= self._loop.time():
            _, _, it = heapq.heappop(self._due)
            try:
                await (self._retry(it) if isinstance(it, Held) else self._try_place(it))
            except BaseException:  # the disk's, say: it must not be forgotten
                self._schedule(it, _AGAIN_SECONDS)
                raise
            tried = True
            limit = limit - 1 if self._sender.connection == connection else 0
        return tried

    def _strikes_out(self, message: Message) -> bool:
        aside = self.places.of(message)
        if aside is None or not aside.recovering:
            return False
        aside.strikes += 1
        return aside.strikes >= _STRIKES

    def _schedule(self, it: Held | Aside, seconds: float) -> None:
        if isinstance(it, Aside):
            if it.trying:
                return
            it.trying = True
        heapq.heappush(self._due, (self._loop.time() + seconds, next(self._order), it))

    # Rows that are held

    async def _retry(self, held: Held) -> None:
        if held.park_as is None and self._is_given_up(held, held.exchange):
            held.park_as = "exchange_gone"
        if held.seq in self.unresolved or not self._sender.takes(held.exchange):
            self._schedule(held, _AGAIN_SECONDS)
            return
        connection = self._sender.connection
        row = await self._spool.get(held.seq)
        if self._held.get(held.seq) is not held:  # the disk did not take it in the end
            return
        if row is None or connection != self._sender.connection:
            # Not on disk yet, or what may be in flight on a new connection is to be asked first.
            self._schedule(held, _AGAIN_SECONDS if row is None else 0)
            return
        message = parked(row.message, held.park_as) if held.park_as else row.message
        self.under_way += 1
        publish = self._sender.try_alone(message, apart=held.apart)
        publish.on_settled(lambda settled: self._retried(held, row, settled))

    def _is_given_up(self, held: Held, exchange: str) -> bool:
        """Return whether a held row's exchange, too, is gone for too long."""
        now = self._loop.time()
        if self._sender.takes(exchange):
            held.gone_since = None
        elif held.gone_since is None:
            held.gone_since = now
        return held.gone_since is not None and now - held.gone_since >= GONE_SECONDS

    def _retried(self, held: Held, row: Row, publish: Publish) -> None:
        outcome = self._tried(publish, apart=held.apart)
        if outcome is not None and outcome.accepted:
            self._let_go(held)
            self._finish(row, outcome, held.park_as)
        elif outcome is Outcome.AWAY:  # that counts no try
            self._schedule(held, _AGAIN_SECONDS)
        elif held.park_as is not None:
            self._plan_parking(held, row)
        elif outcome is Outcome.REFUSED:
            held.tries += 1
            self._spool.note_tries(row, held.tries)
            self._plan_retry(held, row)
        elif held.silent or held.apart or not self._is_silent(outcome):
            held.apart = held.apart or not self._sender.is_up
            held.unanswered += 1
            self._schedule(held, silence_pause(held.unanswered))
        else:
            self._let_go(held)
            self.blame(row.message, "silent")
            self.pass_over(row, *self._books(row.seq))

    def _let_go(self, held: Held) -> None:
        self._held.remove(held)
        self.wants_sweep = self.wants_sweep or held.key in self.passed

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
        self._schedule(held, pause)

    def _plan_retry(self, held: Held, row: Row) -> None:
        log.warning("event_refused", event_id=row.message.message_id, tries=held.tries)
        if held.tries >= self._refused_tries:
            held.park_as = "refused"
            self._schedule(held, 0)
        else:
            self._schedule(held, refusal_pause(held.tries))

    # Places that are set aside

    async def _try_place(self, aside: Aside) -> None:
        """Try the next of the rows that take turns."""
        aside.trying = False
        if aside.recovering or aside not in self.places:
            return
        aside.heads.rotate(-1)
        free = [seq for seq in aside.heads if not (self.has(seq) or self._is_taken(seq))]
        connection = self._sender.connection
        row = await self._spool.get(free[-1]) if free else None
        if not aside.is_at_rest():
            return
        if row is not None and (self.has(row.seq) or self._is_taken(row.seq)):
            row = None
        if row is None or connection != self._sender.connection:
            if free and row is None:  # confirmed late, or not on disk yet: a sweep will tell
                aside.drop(free[-1])
            self._schedule(aside, self._look_for_heads(aside))
            return
        aside.trying, aside.idle = True, 0
        self.under_way += 1
        self.unresolved.add(row.seq)
        publish = self._sender.try_alone(row.message, apart=aside.apart)
        publish.on_settled(lambda settled: self._place_tried(aside, row, settled))

    def _look_for_heads(self, aside: Aside) -> float:
        """Ask for a sweep if no row of a place can be tried; return when to look again.

        What is held of it is tried by itself.
        """
        if aside.heads:
            return _AGAIN_SECONDS
        self.wants_sweep = self.wants_sweep or not self._held.bytes_of(aside.place[:2])
        aside.idle += 1
        return silence_pause(aside.idle)

    def _place_tried(self, aside: Aside, row: Row, publish: Publish) -> None:
        outcome = self._tried(publish, apart=aside.apart)
        aside.trying = False
        self.unresolved.discard(row.seq)
        self.wants_sweep |= aside.recovering or aside not in self.places
        if outcome is not None and outcome.accepted:
            aside.drop(row.seq)
            self.wants_sweep = True
            self._finish(row, outcome, None)
            return
        if outcome is Outcome.REFUSED:
            self._spool.note_tries(row, row.tries + 1)
            if row.tries + 1 >= self._refused_tries:
                aside.drop(row.seq)
                self.hold(row, publish, park_as="refused")
        if outcome is not Outcome.AWAY:
            aside.failures += 1
            aside.apart = aside.apart or (outcome is Outcome.UNKNOWN and not self._sender.is_up)
            pause = aside.pause()
            log.warning(
                "place_tried",
                place=aside.place,
                outcome=outcome.value if outcome else None,
                again_in_seconds=pause,
            )
        else:
            pause = _AGAIN_SECONDS
        self._schedule(aside, pause)

    # Both

    def _tried(self, publish: Publish, *, apart: bool) -> Outcome | None:
        self.under_way -= 1
        outcome = publish.outcome
        answered = outcome is Outcome.REFUSED or self._is_silent(outcome)
        answered = answered or (outcome is not None and outcome.accepted)
        if answered and not apart:
            self._answered()
        return outcome

    def _is_silent(self, outcome: Outcome | None) -> bool:
        return outcome is Outcome.UNKNOWN and self._sender.is_up

    def _finish(self, row: Row, outcome: Outcome, park_as: str | None) -> None:
        self._spool.delete(row)
        self._tally.note(row, outcome, park_as=park_as)
        if park_as is None:
            self.confirmed(row.message)
