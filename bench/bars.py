"""What is claimed, as ratios within one run: the bar that must hold, and a stretch beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.results import Results


class Figure(NamedTuple):
    """One median of a run: ``rate``, ``cpu_us``, ``p99_us`` or ``rss_mib``."""

    row: str
    part: str
    name: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim about a figure, or about its ratio to another one.

    ``least``: more is better; else less is. ``unit`` is what one of the result stands for.
    """

    claim: str
    figure: Figure
    relative_to: Figure | None
    bar: float
    stretch: float
    least: bool = True
    unit: float = 1.0

    def value(self, results: Results) -> float | None:
        """Return what was measured; None if a part of it was not, or is void."""
        wanted = [each for each in (self.figure, self.relative_to) if each]
        if any(results.void(each.row) for each in wanted):
            return None
        found = [results.median(*each) for each in wanted]
        if not all(found):
            return None
        first, *base = [each for each in found if each]
        return first / base[0] if base else first / self.unit

    def verdict(self, value: float | None) -> str:
        """Return ``stretch``, ``pass``, ``FAIL`` or ``-``."""
        if value is None:
            return "-"
        if self._holds(value, self.stretch):
            return "stretch"
        return "pass" if self._holds(value, self.bar) else "FAIL"

    def _holds(self, value: float, limit: float) -> bool:
        return value >= limit if self.least else value <= limit


def _rate(row: str, part: str = "c64") -> Figure:
    return Figure(row, part, "rate")


def _peers() -> Sequence[Bar]:
    """Return the comparisons with peers."""
    faster = [
        ("equal work in Python", "naive-equal", "c64", 2.2, 2.7),
        ("equal work in Python", "naive-equal", "c256", 2.2, 2.7),
        ("bare Python", "naive", "c64", 1.8, 2.7),
        ("bare Python", "naive", "c256", 1.8, 2.7),
        ("equal work on Node", "fastify-equal", "c64", 1.0, 1.2),
        ("equal work on Node", "fastify-equal", "c256", 1.0, 1.2),
    ]
    return [
        Bar(f"requests/s to {name}, {part}", _rate("ours", part), _rate(row, part), bar, stretch)
        for name, row, part, bar, stretch in faster
    ]


def _growth() -> Sequence[Bar]:
    """Return the claims that an event costs no more when there is more of something."""
    grown = {
        "routes": "100 routes to 1",
        "endpoints": "50 endpoints to 1",
        "window": "full memory of duplicates to empty",
        "spooled": "many events on disk to none",
    }
    return [
        Bar(f"CPU per event: {what}", Figure(row, "far", "cpu_us"), Figure(row, "near", "cpu_us"),
            1.15, 1.05, least=False)
        for row, what in grown.items()
    ]  # fmt: skip


BARS: Sequence[Bar] = (
    *_peers(),
    Bar("p99 to equal work on Node, c64", Figure("ours", "c64", "p99_us"),
        Figure("fastify-equal", "c64", "p99_us"), 0.9, 0.6, least=False),
    Bar("CPU per event to the floor, c64", Figure("ours", "c64", "cpu_us"),
        Figure("floor", "c64", "cpu_us"), 2.5, 1.7, least=False),
    Bar("spooling rate to the floor, c64", _rate("ours-spooling"), _rate("floor"), 0.45, 0.6),
    Bar("drain rate to direct rate, c64", _rate("drain", "drain"), _rate("ours"), 1.0, 1.3),
    Bar("p99 at 1,000/s, ms", Figure("open-ours-1000", "r1000", "p99_us"), None, 10, 5,
        least=False, unit=1000),
    Bar("memory: many events on disk to none", Figure("spooled", "far", "rss_mib"),
        Figure("spooled", "near", "rss_mib"), 1.3, 1.1, least=False),
    *_growth(),
)  # fmt: skip
