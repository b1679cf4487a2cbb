"""Very many records, of which only one thing is asked: is this one among them?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

EXACT = 10_000
"""Maximum number of records that are remembered as they are."""

_BITS = 1 << 25
_HASHES = 6


class Records:
    """A set without removal, in 4 MiB at the most.

    The first 10,000 are kept as they are. With more it is a Bloom filter: what was added is always
    found; of a million records one in some fifty thousand others is found, too. Who takes a record
    for one of these lets it wait, which is safe, until the set is made anew.
    """

    def __init__(self) -> None:
        self._exact: set[Hashable] = set()
        self._bits: bytearray | None = None
        self._count = 0

    def __len__(self) -> int:
        """Return how many there are, about, when they are very many."""
        return self._count

    def __contains__(self, record: Hashable) -> bool:
        """Return whether a record was added (or, very seldom, only seems so)."""
        bits = self._bits
        if bits is None:
            return record in self._exact
        return all(bits[at >> 3] & 1 << (at & 7) for at in self._places(record))

    def add(self, record: Hashable) -> bool:
        """Add a record; return whether it is a new one."""
        if record in self:
            return False
        self._count += 1
        if self._bits is None:
            self._exact.add(record)
            if len(self._exact) > EXACT:
                self._spread()
        else:
            self._mark(record, self._bits)
        return True

    def _spread(self) -> None:
        self._bits = bytearray(_BITS // 8)
        for record in self._exact:
            self._mark(record, self._bits)
        self._exact.clear()

    def _mark(self, record: Hashable, bits: bytearray) -> None:
        for at in self._places(record):
            bits[at >> 3] |= 1 << (at & 7)

    def _places(self, record: Hashable) -> Iterator[int]:
        # The salt makes another set take other records for its own: nobody waits twice for that.
        first, step = hash((id(self), record)), hash((record, id(self))) | 1
        return ((first + number * step) % _BITS for number in range(_HASHES))
