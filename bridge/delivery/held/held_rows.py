"""Rows that are held by number: which, why, and how many of each place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from bridge.core.event import Record
from bridge.core.message import PARKED
from bridge.delivery.held.places import Place, levels, place_of
from bridge.delivery.records import Records
from bridge.spool import Row

HELD_OF_A_PLACE = 100
"""Maximum number of guilty rows of a place; with more of them the place is held instead."""

HELD = 1000
"""Maximum number of rows that are held by number, of all places and for whatever reason."""

SUSPECTS = 500
"""Maximum number of those that are only suspected. Further ones wait on the disk."""


class RowKey(NamedTuple):
    """The key of a row that has no record, or whose record cannot be read: the row itself."""

    seq: int


HeldKey = Record | RowKey
"""What a row is held with: no other row with the same key is published before it."""

Charge = Literal["suspected", "guilty", "to be parked"]
"""Why a row is held. Only guilty rows blame their place; against a suspect nothing is known."""


@dataclass(slots=True, eq=False)
class HeldRow:
    """A row by number, its key, and its ``size`` in bytes.

    ``tries`` counts nacks. ``unanswered`` counts how often it was published alone without any
    answer; ``silent`` is whether it is held for that. ``apart``: it may be why a connection was
    closed, so it is tried on a connection of its own. ``park_as`` is the reason to park it, once
    there is one, and ``parkings`` counts how often that was nacked. ``gone_since`` is when its
    exchange was found missing.
    """

    seq: int
    key: HeldKey
    place: Place
    size: int
    charge: Charge = "guilty"
    tries: int = 0
    unanswered: int = 0
    silent: bool = False
    apart: bool = False
    park_as: str | None = None
    parkings: int = 0
    gone_since: float | None = None

    @property
    def exchange(self) -> str:
        """Return the exchange to which it is published next."""
        return PARKED if self.park_as else self.place[0]

    @property
    def is_untried(self) -> bool:
        """Return whether it is suspected, and was never tried alone."""
        return self.charge == "suspected" and not self.unanswered


def key_of(row: Row) -> HeldKey:
    """Return what a row is held with."""
    return row.message.record or RowKey(row.seq)


def held_row(row: Row, charge: Charge) -> HeldRow:
    """Return what is remembered of a row while it is held."""
    key = RowKey(row.seq) if row.unreadable else key_of(row)
    return HeldRow(row.seq, key, place_of(row.message), row.size, charge, tries=row.tries)


class HeldRows:
    """The rows that are held now."""

    def __init__(self) -> None:
        self._by_key: dict[HeldKey, HeldRow] = {}
        self.by_seq: dict[int, HeldRow] = {}
        self._guilty: Counter[Place] = Counter()
        self._guilty_bytes: Counter[Place] = Counter()
        self._bytes: Counter[Place] = Counter()
        self._suspects = 0

    def __len__(self) -> int:
        """Return how many rows are held."""
        return len(self.by_seq)

    def __iter__(self) -> Iterator[HeldRow]:
        """Yield the rows that are held."""
        return iter(self.by_seq.values())

    def __contains__(self, key: object) -> bool:
        """Return whether a row of this record is held."""
        return key in self._by_key

    @property
    def is_full(self) -> bool:
        """Return whether no more rows can be held."""
        return len(self.by_seq) >= HELD

    @property
    def takes_suspects(self) -> bool:
        """Return whether one more suspect can be held."""
        return not self.is_full and self._suspects < SUSPECTS

    def get(self, seq: int) -> HeldRow | None:
        """Return a row by its number, if it is held."""
        return self.by_seq.get(seq)

    def count_besides(self, keys: Records) -> int:
        """Return how many rows are held whose keys are not among these."""
        return sum(key not in keys for key in self._by_key)

    def has_room_for(self, place: Place) -> bool:
        """Return whether one more guilty row of a place can be held."""
        return not self.is_full and self._guilty[place] < HELD_OF_A_PLACE

    def bytes_of(self, place: Place) -> int:
        """Return how many bytes are held of a place: a key, a kind, or an exchange."""
        return self._bytes[place]

    def guilty_bytes_of(self, place: Place) -> int:
        """Return how many bytes the guilty rows of a key have."""
        return self._guilty_bytes[place]

    def add(self, held: HeldRow) -> None:
        """Hold a row."""
        self._by_key[held.key] = self.by_seq[held.seq] = held
        self._count(held, 1)

    def remove(self, held: HeldRow) -> None:
        """Hold a row no longer."""
        del self._by_key[held.key], self.by_seq[held.seq]
        self._count(held, -1)

    def condemn(self, held: HeldRow) -> bool:
        """Make a suspect guilty; return whether its place has room for one more guilty row."""
        if held.charge != "suspected":
            return True
        has_room = self._guilty[held.place] < HELD_OF_A_PLACE
        self._count(held, -1)
        held.charge = "guilty"
        self._count(held, 1)
        return has_room

    def _count(self, held: HeldRow, sign: int) -> None:
        for place in levels(held.place):
            _add(self._bytes, place, sign * held.size)
        if held.charge == "suspected":
            self._suspects += sign
        elif held.charge == "guilty":
            _add(self._guilty, held.place, sign)
            _add(self._guilty_bytes, held.place, sign * held.size)


def _add(counts: Counter[Place], place: Place, number: int) -> None:
    """Add to one of the counts, and forget it when it is 0."""
    counts[place] += number
    if not counts[place]:
        del counts[place]
