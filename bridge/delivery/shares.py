"""How much of the disk may be taken by what is set aside.

Each place takes no more than it leaves free for everybody else; so do, together, the rows whose
place is well, but whose record waits. Nothing that is passed over is counted in no share: after a
place has changed a row may count for another one, until the next sweep has met it.
"""

from __future__ import annotations

from bridge.core.message import Message
from bridge.delivery.held import HeldRows
from bridge.delivery.places import Aside, Places
from bridge.delivery.share import Share


class Shares:
    """Of the places that are set aside, and of what waits ``behind`` records."""

    def __init__(self, places: Places, held: HeldRows) -> None:
        self._places = places
        self._held = held
        self.behind = Share()

    @property
    def passed_over(self) -> int:
        """Return how many bytes are passed over, of all places."""
        return self.behind.bytes + sum(aside.share.bytes for aside in self._places)

    def take(self, message: Message, size: int, *, new: bool, met: bool) -> None:
        """Count a row that is passed over."""
        self._of(message).take(size, new=new, met=met)

    def take_behind(self, size: int, *, met: bool) -> None:
        """Count a row that waits behind another one of its record."""
        self.behind.take(size, new=True, met=met)

    def give(self, message: Message, size: int, *, met: bool) -> None:
        """Count a row no longer that was passed over."""
        self._of(message).give(size, met=met)

    def end_sweep(self) -> None:
        """Go by what the sweep has met."""
        for share in (self.behind, *(aside.share for aside in self._places)):
            share.end_sweep()

    def forget(self, aside: Aside) -> None:
        """Trust a place again; those of its rows that wait do so behind a record."""
        self._places.forget(aside)
        self.behind.absorb(aside.share)

    def is_empty(self, aside: Aside) -> bool:
        """Return whether nothing of a place waits."""
        return not (aside.share.bytes or self._held.bytes_of(aside.place))

    def is_full(self, aside: Aside, *, free: int) -> bool:
        """Return whether a place has had its share of the disk, if so many bytes are left."""
        return aside.share.bytes + self._held.bytes_of(aside.place) >= free

    def _of(self, message: Message) -> Share:
        aside = self._places.of(message)
        return self.behind if aside is None else aside.share
