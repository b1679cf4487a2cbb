"""How many bytes of the disk rows take that wait, counted without an object for each row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Share:
    """The ``bytes`` of some rows on the disk; ``met`` are those that the present sweep has met."""

    bytes: int = 0
    met: int = 0

    def add(self, size: int, *, new: bool, met: bool) -> None:
        """Count a row that is passed over, ``new`` or again; ``met``: the sweep has met it."""
        self.bytes += size if new else 0
        self.met += size if met else 0

    def remove(self, size: int, *, met: bool) -> None:
        """Count a row no longer, because it is published, held, or gone."""
        self.bytes = max(0, self.bytes - size)
        self.met = max(0, self.met - size) if met else self.met

    def absorb(self, other: Share) -> None:
        """Move what another share has counted to this one."""
        self.bytes += other.bytes
        self.met += other.met
        other.bytes = other.met = 0

    def end_sweep(self) -> None:
        """Count only what the sweep has met: other rows are gone, or of another place now."""
        self.bytes, self.met = self.met, 0
