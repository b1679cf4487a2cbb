"""Spooled rows that wait for something else than their turn (docs/decisions/0026).

*Held*: a row that the broker refused, or that may be why a channel was closed. It is remembered by
number, tried alone after growing pauses, and after the last try it is parked. Its record waits.
*Passed over*: every other row of a place that is set aside, or of a record with a row that waits.
Nothing is kept of those but the record, and that in bounded memory: they lie on the disk, where a
*sweep* reads them again, in the order of acceptance, as soon as one of them may go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from datetime import UTC, datetime

import structlog

from bridge.core.backoff import refusal_pause, silence_pause
from bridge.core.message import PARKED, Message, refused_message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.closers import Closers
from bridge.delivery.due import Due
from bridge.delivery.held import Charge, Held, HeldRows, Key
from bridge.delivery.places import Aside, Places, Why, place_of
from bridge.delivery.records import Records
from bridge.delivery.shares import Shares
from bridge.spool import Row, Spool

GONE_SECONDS = 600.0
"""For how long events wait for an exchange that is not there, until they are parked."""

_STRIKES = 4
"""Number of rows in a run, refused or silent, that set a place that was recovering aside again."""

_REMEMBERED = 10_000
"""Maximum number of rows on the disk of which it is remembered that they are to be tried alone."""

log = structlog.get_logger()


def key_of(row: Row) -> Key:
    """Return what a row is held with: its record, or itself."""
    return row.message.record or ("row", row.seq)


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
        sender: Publisher,
        *,
        refused_tries: int,
        books: Callable[[int], list[Records]],
        lets: Callable[[str], bool],
    ) -> None:
        """Take how often a refused row is tried again until it is parked.

        ``books`` says where it is written down that the record of a row waits, ``lets`` whether
        an action may have one more line of the log.
        """
        self._spool = spool
        self._sender = sender
        self.refused_tries = refused_tries
        self.books = books
        self.lets = lets
        self._loop = asyncio.get_running_loop()
        self.held = HeldRows()
        self.places = Places()
        self.closers = Closers()
        self.passed = Records()
        self._due = Due()
        self.unresolved: set[int] = set()
        self.untried: set[int] = set()
        """Rows that are to be tried alone before they were published otherwise."""
        self._suspects: dict[int, bool] = {}
        """Rows that were passed over and are to be tried alone; and whether on a connection."""
        self._untested = False
        """Whether rows were passed over because no more of them could be tried alone."""
        self.wants_sweep = False
        self.shares = Shares(self.places, self.held)
        self._unparked = False
        """Whether rows were passed over because nothing more could be parked."""

    def __repr__(self) -> str:
        """Show how much is set aside."""
        return f"held {len(self.held)}, places {len(self.places)}, records {len(self.passed)}"

    @property
    def records(self) -> int:
        """Return how many records (and rows without one) wait, about."""
        return len(self.passed) + self.held.count_besides(self.passed)

    def holds_up(self, message: Message) -> bool:
        """Return whether a message must go behind something that is set aside."""
        return (
            self.places.of(message) is not None
            or self.holds(message)
            or message.record in self.passed
        )

    def is_recovering_for(self, message: Message) -> bool:
        """Return whether a message goes behind its place alone, which takes something again."""
        aside = self.places.of(message)
        recovers = aside is not None and aside.recovering
        return recovers and not self.holds(message) and message.record not in self.passed

    def holds(self, message: Message) -> bool:
        """Return whether the first row of a message's record is held."""
        return message.record is not None and message.record in self.held

    def has(self, seq: int) -> bool:
        """Return whether a row is held, or may still be confirmed."""
        return self.held.get(seq) is not None or seq in self.unresolved

    @property
    def can_park(self) -> bool:
        """Return whether one more row may be parked: what is refused there is held."""
        return not self.held.is_full and self._sender.can_publish_to(PARKED)

    def park_as(self, row: Row) -> str | None:
        """Return why a row is to be parked, if it is: nobody can read it, or its place is lost."""
        aside = self.places.of(row.message)
        lost = aside is not None and not self._sender.can_publish_to(row.message.exchange)
        return "spool_unreadable" if row.unreadable else aside.park_as if aside and lost else None

    def misses(self, message: Message) -> bool:
        """Return whether a message's exchange is not there, and set that aside if it is not."""
        exchange = message.exchange
        if not self._sender.is_up or self._sender.can_publish_to(exchange):
            return False
        if not self.places.is_gone(exchange):
            log.warning("exchange_gone", exchange=exchange, parked_in_seconds=GONE_SECONDS)
            self.places.gone(exchange, now=self._loop.time())
        return True

    def has_room_for(self, message: Message, *, free: int) -> bool:
        """Return whether the disk has room for a message, if it has so many bytes.

        What is set aside, of each place, takes no more than it leaves free for everybody else.
        """
        place = place_of(message)
        held = self.held.bytes_of(place)
        if not (held or self.holds_up(message)):
            return True
        if self.held.guilty_bytes_of(place) >= free and self.places.of(message) is None:
            self.blame(message, "refused")
        aside = self.places.of(message)
        if aside is None:
            behind = self.shares.behind.bytes if self.holds_up(message) else 0
            return max(held, behind) < free
        if self.shares.is_full(aside, free=free):
            self._note_full(aside)
            return False
        return True

    def _note_full(self, aside: Aside) -> None:
        if not aside.told and self.lets("place_full"):
            exchange, *_ = aside.place
            log.error("place_full", exchange=exchange, key=aside.name, bytes=aside.share.bytes)
        aside.told = True

    def pass_over(
        self, row: Row, *books: Records, behind: bool = False, again: bool = False
    ) -> None:
        """Leave a row on the disk until the next sweep, and write down that its record waits.

        ``again``: a sweep has met it.
        """
        message, record = row.message, row.message.record
        self.shares.take(message, row.size, new=not again, met=again or len(books) > 1)
        added = [record is None or book.add(record) for book in books]
        aside = self.places.of(message)
        if aside is not None and added[0] and not (behind or self.holds(message)):
            aside.offer(row.seq)

    def take_up(self, row: Row) -> None:
        """Take note that a row that was passed over is so no longer: it goes on, or is gone."""
        met = len(self.books(row.seq)) > 1
        self.shares.give(row.message, row.size, met=met)
        if (aside := self.places.of(row.message)) is not None:
            aside.drop(row.seq)

    def leave_behind(self, seq: int, size: int, record: Hashable) -> None:
        """Leave a row on the disk whose turn in the line of its record has not come."""
        books = self.books(seq)
        for book in books:
            book.add(record)
        self.shares.take_behind(size, met=len(books) > 1)

    def heard_of(self, row: Row, publish: Publish, *, park_as: str | None = None) -> None:
        """Take the outcome of a publish that was given up; ``park_as``: of one to be parked."""
        self.unresolved.discard(row.seq)
        self.wants_sweep = True
        outcome, held = publish.outcome, self.held.get(row.seq)
        if outcome is not None and outcome.is_with_broker:
            self._spool.delete(row)
            self.drop_head(row)
            if held is not None:
                self.let_go(held)
            else:
                self.take_up(row)
            if park_as is None:
                self.confirmed(row.message)
        elif held is None and (outcome is Outcome.REFUSED or publish.suspect):
            self.take_up(row)
            self.hold(row, publish)

    def begin_sweep(self) -> None:
        """Note which places recover from its beginning to its end."""
        self.wants_sweep = False
        for aside in self.places:
            aside.swept = aside.recovering

    def end_sweep(self, passed: Records) -> None:
        """Trust the places again that recovered, and those of which nothing waits."""
        self.passed = passed
        self.shares.end_sweep()
        for aside in self.places:
            gone = aside.why == "gone" and not aside.recovering
            empty = self.shares.is_empty(aside) and not gone
            if (aside.swept and aside.recovering) or empty:
                self.shares.forget(aside)
            unswept = aside.recovering and not aside.swept and not self._unparked
            self.wants_sweep = self.wants_sweep or unswept

    def drop_head(self, row: Row) -> None:
        """Take a row that is gone, or held, out of the turns of its place."""
        self._suspects.pop(row.seq, None)
        if (aside := self.places.of(row.message)) is not None:
            aside.drop(row.seq)

    def hold(self, row: Row, publish: Publish, *, park_as: str | None = None) -> None:
        """Hold a row that was refused, or may have been the reason for the loss of a channel."""
        if park_as is not None:
            self._hold_for_parking(row, park_as)
        elif publish.suspect:
            self.suspect(row)
        else:
            self._hold_refused(row, culprit=publish.culprit)

    def _hold_refused(self, row: Row, *, culprit: bool) -> None:
        message = row.message
        if culprit:
            self.note_closer(row)
        elif self._strikes_out(message):
            self.blame(message, "refused")
        if self.held.has_room_for(place_of(message)):
            self.plan_retry(self._add(row), row)
        else:
            self.blame(message, "refused")
            self.pass_over(row, *self.books(row.seq))

    def _hold_for_parking(self, row: Row, reason: str) -> None:
        if self.held.is_full:
            self.pass_over_unparked(row, *self.books(row.seq))
            return
        held = self._add(row, "to be parked")
        held.park_as = reason
        self.schedule(held, 0)

    def suspect(self, row: Row, *, apart: bool = False, untried: bool = False) -> None:
        """Have a row tried alone, because it may end a channel, or ``apart``: a connection.

        ``untried``: it is suspected for others of its kind alone. Where no more can be held it
        waits on the disk. It blames nobody.
        """
        if not self.held.takes_suspects:
            self._untested = True
            if len(self._suspects) < _REMEMBERED:
                self._suspects[row.seq] = apart
            self.pass_over(row, *self.books(row.seq))
            return
        held = self._add(row, "suspected")
        held.apart = apart
        if untried:
            self.untried.add(row.seq)
        self.schedule(held, 0)

    def suspects(self, row: Row) -> bool:
        """Return whether a row must not be published with others."""
        return row.seq in self._suspects or self.closers.suspects(row.message)

    def try_first(self, row: Row) -> None:
        """Hold a row that may end a channel, and have it tried alone."""
        self.suspect(row, apart=self._suspects.pop(row.seq, False), untried=True)

    def note_closer(self, row: Row, *, known: bool = False) -> None:
        """Take note that a row ended a channel alone: if it is not the first, blame its place.

        ``known``: it has done so before.
        """
        message = row.message
        again = self.closers.found(message, key_of(row))
        if known:
            return
        aside = self.places.of(message)
        if self._strikes_out(message) if aside is not None and aside.recovering else again:
            self.blame(message, "closes")

    def hold_apart(self, row: Row) -> None:
        """Hold a row under which the connection was lost again and again."""
        if self.lets("event_suspected"):
            log.warning("event_suspected", event_id=row.message.message_id)
        self.suspect(row, apart=True)

    def note_silence(self, row: Row) -> bool:
        """Take note that a row is not confirmed in time; return whether it is held for that.

        While others of its place are confirmed it is blamed itself, and otherwise its place.
        """
        self.unresolved.add(row.seq)
        aside = self.places.of(row.message)
        answers = aside is not None and aside.recovering and aside.confirmed > 0
        alone = answers and self.held.has_room_for(place_of(row.message))
        if not alone or self._strikes_out(row.message):
            self.blame(row.message, "silent")
            return False
        held = self._add(row)
        held.silent, held.unanswered = True, 1
        self.schedule(held, silence_pause(held.unanswered))
        return True

    def _add(self, row: Row, charge: Charge = "guilty") -> Held:
        key = ("row", row.seq) if row.unreadable else key_of(row)
        place = place_of(row.message)
        held = Held(row.seq, key, place, row.size, charge, tries=row.tries)
        self.held.add(held)
        return held

    def blame(self, message: Message, why: Why) -> None:
        """Set the place of a message aside."""
        known = self.places.of(message)
        aside = self.places.blame(message, why, now=self._loop.time())
        if known is None and self.lets("place_set_aside"):
            log.warning("place_set_aside", exchange=message.exchange, key=aside.name, why=why)
        self.schedule(aside, aside.pause())

    def confirmed(self, message: Message) -> None:
        """Take note of a confirm: the place of the message takes something."""
        self.closers.confirmed(message)
        aside = self.places.of(message)
        if aside is None or aside.why == "gone":
            return
        aside.confirmed += 1
        aside.strikes = 0
        if not aside.recovering:
            aside.recovering = self.wants_sweep = True

    def remove(self, row: Row) -> None:
        """Forget a row that is held or passed over, and was never stored."""
        self.unresolved.discard(row.seq)
        self.drop_head(row)
        self.wants_sweep = True
        if (held := self.held.get(row.seq)) is not None:
            self.let_go(held)
        else:
            self.take_up(row)

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
        if self._untested and self.held.takes_suspects:
            self._untested, self.wants_sweep = False, True
        for aside in self.places.exchanges:
            if aside.recovering:
                continue
            if self._sender.is_up and self._sender.can_publish_to(aside.place[0]):
                aside.recovering = self.wants_sweep = True
            elif now - aside.since >= GONE_SECONDS:
                aside.park_as = "exchange_gone"
                aside.recovering = self.wants_sweep = True

    def _strikes_out(self, message: Message) -> bool:
        aside = self.places.of(message)
        if aside is None or not aside.recovering:
            return False
        aside.strikes += 1
        return aside.strikes >= _STRIKES

    def next_due(self) -> Held | Aside | None:
        """Return what is to be tried now, if there is anything, and take it out of the line."""
        it = self._due.next(self._loop.time())
        if isinstance(it, Held):
            self.untried.discard(it.seq)
        return it

    def schedule(self, it: Held | Aside, seconds: float) -> None:
        """Have a row or a place tried after so many seconds; a place has one turn at a time."""
        if isinstance(it, Aside):
            if it.trying:
                return
            it.trying = True
        self._due.add(it, self._loop.time() + seconds)

    def spend(self, it: Held | Aside) -> None:
        """Take note that something is being tried: the next ones wait for a moment."""
        self._due.spend(it, self._loop.time())

    def let_go(self, held: Held) -> None:
        """Hold a row no longer; what waited for it may go on, and its place may be empty now."""
        self.held.remove(held)
        aside = self.places.at(held.place)
        emptied = aside is not None and not self.held.bytes_of(aside.place)
        self.wants_sweep = self.wants_sweep or held.key in self.passed or emptied

    def plan_retry(self, held: Held, row: Row) -> None:
        """Have a row that was refused tried again after a pause, or parked."""
        if self.lets("event_refused"):
            log.warning("event_refused", event_id=row.message.message_id, tries=held.tries)
        if held.tries >= self.refused_tries:
            held.park_as = "refused"
            self.schedule(held, 0)
        else:
            self.schedule(held, refusal_pause(held.tries))
