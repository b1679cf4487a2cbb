"""What is claimed, as ratios within one run: the bar that must hold, and a stretch beyond it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.builds import COMPILED, INTERPRETED
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


def _cpu(row: str, part: str = "c64") -> Figure:
    return Figure(row, part, "cpu_us")


def _speed() -> Sequence[Bar]:
    """Return what the compiled build is measured by."""
    fastify = [
        Bar(f"requests/s to bare Fastify, {part}", _rate("ours", part), _rate("fastify", part),
            0.9, 1.05)
        for part in ("c64", "c256")
    ]  # fmt: skip
    return [
        *fastify,
        Bar("requests/s to Go, c64", _rate("ours"), _rate("go"), 0.8, 1.0),
        Bar("CPU per event to the floor, c64", _cpu("ours"), _cpu("floor"), 1.5, 1.2, least=False),
        Bar("p99 to bare Fastify, c64", Figure("ours", "c64", "p99_us"),
            Figure("fastify", "c64", "p99_us"), 0.9, 0.6, least=False),
        Bar("spooling rate to the floor, c64", _rate("ours-spooling"), _rate("floor"), 0.6, 0.75),
        Bar("p99 at 1,000/s, ms", Figure("open-ours-1000", "r1000", "p99_us"), None, 5, 4,
            least=False, unit=1000),
        Bar("peak memory, MiB", Figure("ours", "c64", "rss_mib"), None, 80, 60, least=False),
    ]  # fmt: skip


def _interpreted(row: str) -> Sequence[Bar]:
    """Return what the interpreted build is measured by, in the row that ran it."""
    fastify = [
        Bar(f"interpreted: requests/s to bare Fastify, {part}", _rate(row, part),
            _rate("fastify", part), 0.65, 0.8)
        for part in ("c64", "c256")
    ]  # fmt: skip
    return [
        *fastify,
        Bar("interpreted: CPU per event to the floor, c64", _cpu(row), _cpu("floor"), 2.2, 1.9,
            least=False),
    ]  # fmt: skip


def _instructions() -> Sequence[Bar]:
    """Return the claims about what ``bench.instructions`` has counted."""
    limits = {COMPILED: (280, 240), INTERPRETED: (370, 330)}
    return [
        Bar(f"{build}: thousand instructions per event", Figure("instructions", build, "count"),
            None, *limit, least=False, unit=1000)
        for build, limit in limits.items()
    ]  # fmt: skip


def _growth() -> Sequence[Bar]:
    """Return the claims that an event costs no more when there is more of something."""
    grown = {
        "routes": "100 routes to 1",
        "endpoints": "50 endpoints to 1",
        "window": "full memory of duplicates to empty",
        "spooled": "many events on disk to none",
    }
    return [
        Bar(f"CPU per event: {what}", _cpu(row, "far"), _cpu(row, "near"), 1.1, 1.03, least=False)
        for row, what in grown.items()
    ]


_ANY_BUILD: Sequence[Bar] = (
    *_instructions(),
    Bar("drain rate to the checkout before", _rate("drain", "drain"),
        _rate("drain-before", "drain"), 1.5, 2.5),
    Bar("drain rate to direct rate, c64", _rate("drain", "drain"), _rate("ours"), 1.0, 1.3),
    Bar("memory: many events on disk to none", Figure("spooled", "far", "rss_mib"),
        Figure("spooled", "near", "rss_mib"), 1.3, 1.1, least=False),
    *_growth(),
)  # fmt: skip


def bars(build: str) -> Sequence[Bar]:
    """Return what is claimed of a run in which the row ``ours`` is of this build."""
    if build == COMPILED:
        return (*_speed(), *_interpreted("ours-interpreted"), *_ANY_BUILD)
    return (*_interpreted("ours"), *_ANY_BUILD)
