"""How much of the disk held rows may take.

The rows of one held place take at most as many bytes as they leave free for all others. The same
holds for all rows together whose place is well, but whose record waits. Every row that is passed
over is counted in some share. After a place has changed, a row may be counted for the wrong place
until the next sweep has met it.
"""

from __future__ import annotations

from bridge.core.message import Message
from bridge.delivery.held.held_rows import HeldRows
from bridge.delivery.held.places import HeldPlace, HeldPlaces
from bridge.delivery.held.share import Share


class Shares:
    """The shares of the held places, and of the rows that wait ``behind`` their record alone."""

    def __init__(self, places: HeldPlaces, held: HeldRows) -> None:
        self._places = places
        self._held = held
        self.behind = Share()

    @property
    def passed_over(self) -> int:
        """Return how many bytes are passed over, of all places."""
        return self.behind.bytes + sum(place.share.bytes for place in self._places)

    def add(self, message: Message, size: int, *, new: bool, met: bool) -> None:
        """Count a row that is passed over."""
        self._of(message).add(size, new=new, met=met)

    def add_behind(self, size: int, *, met: bool) -> None:
        """Count a row that waits behind another one of its record."""
        self.behind.add(size, new=True, met=met)

    def remove(self, message: Message, size: int, *, met: bool) -> None:
        """Count a row no longer that was passed over."""
        self._of(message).remove(size, met=met)

    def end_sweep(self) -> None:
        """Count only what the sweep has met."""
        for share in (self.behind, *(place.share for place in self._places)):
            share.end_sweep()

    def forget(self, place: HeldPlace) -> None:
        """Trust a place again; the rows of it that still wait do so behind their record."""
        self._places.forget(place)
        self.behind.absorb(place.share)

    def is_empty(self, place: HeldPlace) -> bool:
        """Return whether no row of a place waits."""
        return not (place.share.bytes or self._held.bytes_of(place.place))

    def is_full(self, place: HeldPlace, *, free: int) -> bool:
        """Return whether a place has used up its share, if so many bytes of the disk are free."""
        return place.share.bytes + self._held.bytes_of(place.place) >= free

    def _of(self, message: Message) -> Share:
        place = self._places.of(message)
        return self.behind if place is None else place.share
