"""Rows that were passed over. They lie on the disk, so only their records and bytes are known.

A *sweep* reads them again in the order of acceptance, as soon as one of them may go on. While it is
under way, a row that it has met counts for it as well: what it has met is all that is passed over
when it ends.
"""

from __future__ import annotations

from bridge.core.event import Record
from bridge.core.message import Message
from bridge.delivery.held.held_rows import HeldRows
from bridge.delivery.held.places import HeldPlaces
from bridge.delivery.held.shares import Shares
from bridge.delivery.held.sweep import Sweep
from bridge.delivery.records import Records
from bridge.spool import Row


class PassedOver:
    """The books on these rows.

    ``records`` has the record of each. ``wants_sweep`` is set when a row that was passed over may
    go on. ``any_unparked`` is whether rows were passed over because no more could be parked.
    ``sweep`` is the sweep that is under way, if one is.
    """

    def __init__(self, places: HeldPlaces, held: HeldRows) -> None:
        self._places = places
        self._held = held
        self.records = Records()
        self.shares = Shares(places, held)
        self.wants_sweep = False
        self.any_unparked = False
        self.sweep: Sweep | None = None

    def has(self, message: Message) -> bool:
        """Return whether a row of the same record may be among them."""
        return message.record in self.records

    def add(self, row: Row, *, behind: bool = False) -> None:
        """Count a row that is passed over; ``behind``: behind another row of its record."""
        books = self._books(row.seq)
        self.shares.add(row.message, row.size, new=True, met=len(books) > 1)
        self._note(row, books, behind=behind)

    def add_again(self, row: Row, sweep: Sweep, *, behind: bool = False) -> None:
        """Count a row that a sweep has met and passes over again."""
        self.shares.add(row.message, row.size, new=False, met=True)
        self._note(row, [sweep.passed], behind=behind)

    def add_follower(self, seq: int, size: int, record: Record | None) -> None:
        """Count a row that was in line behind another one of its record, which is held now."""
        books = self._books(seq)
        for book in books:
            book.add(record)
        self.shares.add_behind(size, met=len(books) > 1)

    def remove(self, row: Row) -> None:
        """Count a row no longer, because it goes on, is held, or is gone."""
        met = len(self._books(row.seq)) > 1
        self.shares.remove(row.message, row.size, met=met)
        if (place := self._places.of(row.message)) is not None:
            place.drop(row.seq)

    def note_unparked(self, message: Message) -> None:
        """Take note that a row was passed over because nothing more can be parked."""
        self.any_unparked = True
        if (place := self._places.of(message)) is not None:
            place.swept = False  # so that the end of this sweep does not trust the place

    def begin_sweep(self) -> Sweep:
        """Return a new sweep, and note which places recover from its beginning."""
        self.wants_sweep = False
        for place in self._places:
            place.swept = place.recovering
        return Sweep()

    def end_sweep(self, sweep: Sweep) -> None:
        """Take what a sweep has passed over again for all that is passed over.

        Places are trusted again if they recovered from its beginning to its end, or if no row waits
        for them.
        """
        self.records = sweep.passed
        self.shares.end_sweep()
        for place in self._places:
            is_missing = place.why == "gone" and not place.recovering
            is_empty = self.shares.is_empty(place) and not is_missing
            if (place.swept and place.recovering) or is_empty:
                self.shares.forget(place)
            unswept = place.recovering and not place.swept and not self.any_unparked
            self.wants_sweep = self.wants_sweep or unswept

    def _note(self, row: Row, books: list[Records], *, behind: bool) -> None:
        message, record = row.message, row.message.record
        added = [record is None or book.add(record) for book in books]
        place = self._places.of(message)
        if place is not None and added[0] and not (behind or record in self._held):
            place.offer(row.seq)

    def _books(self, seq: int) -> list[Records]:
        """Return the sets that a record belongs to: the sweep's as well if it has met the row."""
        if self.sweep is not None and seq <= self.sweep.cursor:
            return [self.records, self.sweep.passed]
        return [self.records]
