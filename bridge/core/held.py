"""Rows that are held one by one: which, for what, and how many of a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass

from bridge.core.message import PARKED
from bridge.core.records import Records

HELD_OF_A_PLACE = 100
HELD = 1000
"""Maximum numbers of rows that are held one by one; beyond them their place is set aside."""

Key = Hashable


@dataclass(slots=True, eq=False)
class Held:
    """A row by number, and what it is held with: its record, or itself; ``size`` in bytes.

    ``tries`` counts refusals, ``unanswered`` how often it was published alone, and nothing was
    heard of it; ``silent`` is whether it is held for that. ``apart``: it may be why a connection
    was closed, so it is tried on one of its own. ``park_as`` is the reason to park it, once there
    is one, and ``parkings`` how often that was refused; ``gone_since`` is when its exchange was
    found missing.
    """

    seq: int
    key: Key
    place: tuple[str, str]
    size: int
    tries: int = 0
    unanswered: int = 0
    silent: bool = False
    apart: bool = False
    park_as: str | None = None
    parkings: int = 0
    gone_since: float | None = None

    @property
    def exchange(self) -> str:
        """Return where it goes next."""
        return PARKED if self.park_as else self.place[0]


class HeldRows:
    """Those that are held now."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Held] = {}
        self._by_seq: dict[int, Held] = {}
        self._of_place: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[tuple[str, str]] = Counter()

    def __len__(self) -> int:
        """Return how many are held."""
        return len(self._by_key)

    def __iter__(self) -> Iterator[Held]:
        """Yield those that are held."""
        return iter(self._by_key.values())

    def __contains__(self, key: object) -> bool:
        """Return whether a row of this record is held."""
        return key in self._by_key

    @property
    def is_full(self) -> bool:
        """Return whether there is no room for one more."""
        return len(self._by_key) >= HELD

    def get(self, seq: int) -> Held | None:
        """Return what is held of a row."""
        return self._by_seq.get(seq)

    def count_besides(self, keys: Records) -> int:
        """Return how many are held that are not among these."""
        return sum(key not in keys for key in self._by_key)

    def has_room_for(self, place: tuple[str, str]) -> bool:
        """Return whether there is room for one more of a place."""
        return not self.is_full and self._of_place[place] < HELD_OF_A_PLACE

    def bytes_of(self, place: tuple[str, str]) -> int:
        """Return how many bytes are held of a place."""
        return self._bytes[place]

    def add(self, held: Held) -> None:
        """Hold a row."""
        self._by_key[held.key] = self._by_seq[held.seq] = held
        self._of_place[held.place] += 1
        self._bytes[held.place] += held.size

    def remove(self, held: Held) -> None:
        """Hold it no longer."""
        del self._by_key[held.key], self._by_seq[held.seq]
        self._of_place[held.place] -= 1
        self._bytes[held.place] -= held.size
        if self._of_place[held.place] == 0:
            del self._of_place[held.place], self._bytes[held.place]
