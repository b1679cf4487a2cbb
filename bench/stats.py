"""Medians and spreads."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Spread(NamedTuple):
    """Of some measurements: the middle, the lowest and the highest."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def rotated(items: Sequence[T], by: int) -> list[T]:
    """Return the items in an order that begins further on, so that none is always the first."""
    start = by % len(items) if items else 0
    return [*items[start:], *items[:start]]


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of values in ascending order: the nearest that was measured."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
