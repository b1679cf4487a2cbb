"""Sets of very many records, which answer only one question: is this record among them?"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

EXACT = 10_000
"""Maximum number of records that are remembered as they are."""

FEW = 1000
"""Maximum number of records that a sketch remembers as they are."""

_BITS = 1 << 25
_LAST = _BITS - 1
_SHIFT = 32
_HASHES = 6


class Sketch:
    """A set in at most 4 MiB. A record that was added is always found.

    A few records are kept as they are, which takes less memory. With a million of them, one in
    about three hundred other records seems to be found as well. Adding costs a third of what it
    costs with ``Records``.
    """

    def __init__(self) -> None:
        self._exact: set[Hashable] = set()
        self._bits: bytearray | None = None

    def add(self, *records: Hashable) -> None:
        """Add records."""
        if self._bits is not None:
            _mark(self._bits, records)
            return
        self._exact.update(records)
        if len(self._exact) > FEW:
            self._bits = bytearray(_BITS // 8)
            _mark(self._bits, self._exact)
            self._exact.clear()

    def __contains__(self, record: Hashable) -> bool:
        """Return whether a record was added, or seems to have been."""
        bits = self._bits
        if bits is None:
            return record in self._exact
        number = hash(record)
        first, second = number & _LAST, number >> _SHIFT & _LAST
        return bool(bits[first >> 3] & 1 << (first & 7) and bits[second >> 3] & 1 << (second & 7))


def _mark(bits: bytearray, records: Iterable[Hashable]) -> None:
    for number in map(hash, records):
        first, second = number & _LAST, number >> _SHIFT & _LAST
        bits[first >> 3] |= 1 << (first & 7)
        bits[second >> 3] |= 1 << (second & 7)


class Records:
    """A set without removal, in at most 4 MiB.

    The first 10,000 records are kept as they are; with more it is a Bloom filter. A record that was
    added is always found. With a million records, one in about fifty thousand others seems to be
    found as well. A record that only seems to be in the set waits, which is safe, until the set is
    made anew.
    """

    def __init__(self) -> None:
        self._exact: set[Hashable] = set()
        self._bits: bytearray | None = None
        self.count = 0

    def __len__(self) -> int:
        """Return how many records there are; about, when there are very many."""
        return self.count

    def __contains__(self, record: Hashable) -> bool:
        """Return whether a record was added, or (very seldom) seems to have been."""
        bits = self._bits
        if bits is None:
            return record in self._exact
        first, step = self._hashes(record)
        for number in range(_HASHES):
            at = (first + number * step) & _LAST
            if not bits[at >> 3] & 1 << (at & 7):
                return False
        return True

    def add(self, record: Hashable) -> bool:
        """Add a record; return whether it is a new one."""
        is_new = self._mark(record) if self._bits is not None else record not in self._exact
        self.count += is_new
        if self._bits is None and is_new:
            self._exact.add(record)
            if len(self._exact) > EXACT:
                self._spread()
        return is_new

    def _spread(self) -> None:
        self._bits = bytearray(_BITS // 8)
        for record in self._exact:
            self._mark(record)
        self._exact.clear()

    def _mark(self, record: Hashable) -> bool:
        """Set the bits of a record; return whether one of them was not set before."""
        bits = self._bits
        assert bits is not None  # noqa: S101  # there are that many
        first, step = self._hashes(record)
        is_new = False
        for number in range(_HASHES):
            at = (first + number * step) & _LAST
            byte, bit = at >> 3, 1 << (at & 7)
            if not bits[byte] & bit:
                bits[byte] |= bit
                is_new = True
        return is_new

    def _hashes(self, record: Hashable) -> tuple[int, int]:
        # The salt: in another set other records seem to be found, so none waits twice for that.
        return hash((id(self), record)), hash((record, id(self))) | 1
