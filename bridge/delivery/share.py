"""What rows that wait take of the disk, counted without an object for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Share:
    """What some rows take of the disk: ``bytes``, and as many as the present sweep has met."""

    bytes: int = 0
    met: int = 0

    def take(self, size: int, *, new: bool, met: bool) -> None:
        """Count a row that is passed over, ``new`` or again; ``met``: the sweep is beyond it."""
        self.bytes += size if new else 0
        self.met += size if met else 0

    def give(self, size: int, *, met: bool) -> None:
        """Count a row no longer: it is published, held, or gone."""
        self.bytes = max(0, self.bytes - size)
        self.met = max(0, self.met - size) if met else self.met

    def absorb(self, other: Share) -> None:
        """Count what another one has counted."""
        self.bytes += other.bytes
        self.met += other.met
        other.bytes = other.met = 0

    def end_sweep(self) -> None:
        """Go by what the sweep has met: some of the rows are gone, or of another place now."""
        self.bytes, self.met = self.met, 0
