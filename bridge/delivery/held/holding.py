"""Spooled rows that cannot be published in their turn: the broker nacked them, or their place is
held (docs/decisions/0026).

*Held by number*: a row that was nacked, or that may be the reason why a channel was closed. It is
tried alone after growing pauses, and after the last try it is parked. Its record waits.
*Passed over*: every other row of a held place, and every other row of a record that waits.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from bridge.core.backoff import refusal_pause, silence_pause
from bridge.core.message import PARKED, Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.core.reasons import Undelivered
from bridge.delivery.held.blame import Blame
from bridge.delivery.held.exchanges import Exchanges
from bridge.delivery.held.held_rows import Charge, HeldRow, HeldRows, held_row, key_of
from bridge.delivery.held.passed import PassedOver
from bridge.delivery.held.places import HeldPlaces, place_of
from bridge.delivery.held.schedule import Schedule
from bridge.delivery.held.suspects import Suspects
from bridge.delivery.rows import GONE, HELD, PARKING, PASSED_OVER, SILENT, Rows
from bridge.spool import Row, Spool

log = structlog.get_logger()


class Holding:
    """What is held, and when it is tried again."""

    def __init__(
        self,
        rows: Rows,
        spool: Spool,
        publisher: Publisher,
        *,
        refused_tries: int,
        lets: Callable[[str], bool],
    ) -> None:
        """Take how often a nacked row is tried again until it is parked.

        ``lets`` says whether an action may have one more line of the log.
        """
        self.rows = rows
        self._spool = spool
        self._publisher = publisher
        self.refused_tries = refused_tries
        self.lets = lets
        self.held = HeldRows()
        self.places = HeldPlaces()
        self.passed = PassedOver(self.places, self.held)
        self.suspects = Suspects()
        self.exchanges = Exchanges(self.places, publisher)
        self.schedule = Schedule(self.suspects)
        self.blame = Blame(self.places, self.passed, self.suspects.closers, self.schedule, lets)

    def __repr__(self) -> str:
        """Show how much is held."""
        records = len(self.passed.records)
        return f"held {len(self.held)}, places {len(self.places)}, records {records}"

    @property
    def records(self) -> int:
        """Return about how many records, and rows without a record, are held."""
        passed = self.passed.records
        return len(passed) + self.held.count_besides(passed)

    # What a message must wait for

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is held, passed over or suspected."""
        return not (
            self.held.by_seq
            or self.places.by_place
            or self.passed.records.count
            or self.suspects.on_disk
            or self.suspects.closers.kinds
        )

    def holds_up(self, message: Message) -> bool:
        """Return whether a message must wait behind its place or its record."""
        if self.places.of(message) is not None:
            return True
        record = message.record
        return record is not None and (record in self.held or record in self.passed.records)

    def holds(self, message: Message) -> bool:
        """Return whether the first row of a message's record is held by number."""
        return message.record is not None and message.record in self.held

    def is_recovering_for(self, message: Message) -> bool:
        """Return whether nothing but its place holds a message up, and that is recovering."""
        place = self.places.of(message)
        recovers = place is not None and place.recovering
        return recovers and not self.holds(message) and not self.passed.has(message)

    def holds_place_of(self, message: Message) -> bool:
        """Return whether the place of a message is held and takes nothing, or its exchange.

        An exchange that is missing is held from now on.
        """
        place = self.places.of(message)
        is_stopped = place is not None and not place.recovering
        return is_stopped or self.exchanges.hold_if_missing(message)

    def must_wait(self, message: Message) -> bool:
        """Return whether a row must be passed over; a missing exchange is held from now on."""
        return self.holds_up(message) or self.exchanges.hold_if_missing(message)

    @property
    def can_park(self) -> bool:
        """Return whether one more row may be parked: there must be room to hold it if need be."""
        return not self.held.is_full and self._publisher.can_publish_to(PARKED)

    def park_as(self, row: Row) -> str | None:
        """Return why a row is to be parked: it is unreadable, or its place is given up."""
        place = self.places.of(row.message)
        lost = place is not None and not self._publisher.can_publish_to(row.message.exchange)
        if row.unreadable:
            return Undelivered.SPOOL_UNREADABLE
        return place.park_as if place and lost else None

    # Passing over

    def pass_over(self, row: Row, *, behind: bool = False) -> None:
        """Leave a row on the disk until the next sweep; ``behind`` another one of its record."""
        # A SILENT row stays so until its publish is settled, although it lies on the disk as well.
        if self.rows[row.seq] not in (SILENT, PASSED_OVER):
            self.rows.move(row.seq, PASSED_OVER)
        self.passed.add(row, behind=behind)

    # Holding by number

    def hold(self, row: Row, publish: Publish, *, park_as: str | None = None) -> None:
        """Hold a row that was nacked, or may be the reason why a channel was closed."""
        if park_as is not None:
            self._hold_for_parking(row, park_as)
        elif publish.suspect:
            self.suspect(row)
        else:
            self._hold_nacked(row, culprit=publish.culprit)

    def _hold_nacked(self, row: Row, *, culprit: bool) -> None:
        message = row.message
        if culprit:
            self.note_closer(row)
        elif self.blame.strikes_out(message):
            self.blame.place_of(message, "refused")
        if self.held.has_room_for(place_of(message)):
            self.plan_retry(self._add(row), row)
        else:
            self.blame.place_of(message, "refused")
            self.pass_over(row)

    def _hold_for_parking(self, row: Row, reason: str) -> None:
        if self.held.is_full:
            self.pass_over(row)
            self.passed.note_unparked(row.message)
            return
        self.schedule.add(self._add(row, "to be parked", park_as=reason), 0)

    def suspect(self, row: Row, *, apart: bool = False, untried: bool = False) -> None:
        """Have a row tried alone, because it may end a channel, or ``apart``: a connection.

        ``untried``: only others of its kind give reason to suspect it. A suspect blames no place.
        Where no more rows can be held it waits on the disk.
        """
        if not self.held.takes_suspects:
            self.suspects.wait(row, apart=apart)
            self.pass_over(row)
            return
        held = self._add(row, "suspected")
        held.apart = apart
        if untried:
            self.suspects.untried.add(row.seq)
        self.schedule.add(held, 0)

    def try_first(self, row: Row) -> None:
        """Hold a row that may end a channel, and have it tried alone."""
        self.suspect(row, apart=self.suspects.forget(row.seq), untried=True)

    def hold_apart(self, row: Row) -> None:
        """Hold a row under which the connection was lost again and again."""
        if self.lets("event_suspected"):
            log.warning("event_suspected", event_id=row.message.message_id)
        self.suspect(row, apart=True)

    def note_closer(self, row: Row, *, known: bool = False) -> None:
        """Take note that a row ended a channel alone: if it is not the first, blame its place.

        ``known``: the row has done so before.
        """
        message = row.message
        again = self.suspects.closers.found(message, key_of(row))
        if known:
            return
        place = self.places.of(message)
        if self.blame.strikes_out(message) if place is not None and place.recovering else again:
            self.blame.place_of(message, "closes")

    def note_silence(self, row: Row) -> bool:
        """Take note that a row is not confirmed in time; return whether the row is held for that.

        The row is held if other rows of its place are confirmed, and otherwise its place.
        """
        self.rows.move(row.seq, SILENT)
        place = self.places.of(row.message)
        answers = place is not None and place.recovering and place.confirmed > 0
        alone = answers and self.held.has_room_for(place_of(row.message))
        if not alone or self.blame.strikes_out(row.message):
            self.blame.place_of(row.message, "silent")
            return False
        held = held_row(row, "guilty")
        self.held.add(held)  # it stays SILENT until its publish is settled
        held.silent, held.unanswered = True, 1
        self.schedule.add(held, silence_pause(held.unanswered))
        return True

    def _add(self, row: Row, charge: Charge = "guilty", *, park_as: str | None = None) -> HeldRow:
        self.rows.move(row.seq, PARKING if park_as else HELD)
        held = held_row(row, charge)
        held.park_as = park_as
        self.held.add(held)
        return held

    def plan_retry(self, held: HeldRow, row: Row) -> None:
        """Have a row that was nacked tried again after a pause, or parked."""
        if self.lets("event_refused"):
            log.warning("event_refused", event_id=row.message.message_id, tries=held.tries)
        if held.tries >= self.refused_tries:
            self.park(held, Undelivered.REFUSED)
            self.schedule.add(held, 0)
        else:
            self.schedule.add(held, refusal_pause(held.tries))

    def park(self, held: HeldRow, park_as: str) -> None:
        """Give a held row up: from now on its copy is tried for ``superoffice.parked``."""
        if self.rows[held.seq] is HELD:  # one that is SILENT becomes PARKING in the end
            self.rows.move(held.seq, PARKING)
        held.park_as = park_as

    def rest(self, seq: int) -> None:
        """Move a row back to where it waits, when its publish was settled in vain."""
        held = self.held.get(seq)
        if held is None:
            self.rows.move(seq, PASSED_OVER)
        else:
            self.rows.move(seq, PARKING if held.park_as else HELD)

    def let_go(self, held: HeldRow) -> None:
        """Hold a row no longer: rows behind it may go on, and its place may be empty now."""
        self.held.remove(held)
        place = self.places.at(held.place)
        emptied = place is not None and not self.held.bytes_of(place.place)
        self.passed.wants_sweep |= held.key in self.passed.records or emptied

    def remove(self, row: Row) -> None:
        """Forget a row that waits, because it is gone."""
        self.passed.wants_sweep = True
        self.forget_head(row)
        if (held := self.held.get(row.seq)) is not None:
            self.let_go(held)
        else:
            self.passed.remove(row)

    def forget_head(self, row: Row) -> None:
        """Try a row no longer for its place, nor as a suspect."""
        self.suspects.forget(row.seq)
        if (place := self.places.of(row.message)) is not None:
            place.drop(row.seq)

    def settle_late(self, row: Row, publish: Publish, *, park_as: str | None = None) -> None:
        """Give a row that was SILENT its outcome; ``park_as``: it was published to be parked."""
        self.passed.wants_sweep = True
        if publish.outcome is not None and publish.outcome.is_with_broker:
            self.rows.move(row.seq, GONE)
            self._spool.delete(row)
            self.remove(row)
            if park_as is None:
                self.blame.confirmed(row.message)
            return
        self.rest(row.seq)
        is_held = self.held.get(row.seq) is not None
        if not is_held and (publish.outcome is Outcome.REFUSED or publish.suspect):
            self.passed.remove(row)
            self.hold(row, publish)

    def look_again(self) -> None:
        """Ask for a sweep if what was missing is there now: an exchange, or room to hold rows."""
        if self.passed.any_unparked and self.can_park:
            self.passed.any_unparked, self.passed.wants_sweep = False, True
        if self.suspects.any_waiting and self.held.takes_suspects:
            self.suspects.any_waiting, self.passed.wants_sweep = False, True
        if self.exchanges.look():
            self.passed.wants_sweep = True
