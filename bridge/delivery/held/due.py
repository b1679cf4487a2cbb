"""What is to be tried at which time: first trials as they come, all others at a bounded rate."""

from __future__ import annotations

import heapq
from itertools import count

from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.places import HeldPlace

TRIALS_A_SECOND = 20
"""Maximum number of trials of places in a second, and of rows that were tried before: each is a
channel."""

_AT_ONCE_SECONDS = 0.1
"""For how long that number may be made up for."""

_Entry = tuple[float, int, HeldRow | HeldPlace]


class _Line:
    """Those of one kind, by time; ``spend`` keeps the next ones back for a moment."""

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self._not_before = 0.0

    def first(self, now: float) -> _Entry | None:
        """Return the first one if it is due and may be tried."""
        if not self.heap or now < self._not_before:
            return None
        return self.heap[0] if self.heap[0][0] <= now else None

    def spend(self, now: float) -> None:
        """Take note of a trial."""
        earliest = max(self._not_before, now - _AT_ONCE_SECONDS)
        self._not_before = earliest + 1 / TRIALS_A_SECOND


class Due:
    """The lines of those that wait for their time; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._suspects = _Line()
        self._rows = _Line()
        self._places = _Line()
        self._order = count()

    def add(self, it: HeldRow | HeldPlace, at: float) -> None:
        """Let a row or a place wait until a time."""
        heapq.heappush(self._line(it).heap, (at, next(self._order), it))

    def next(self, now: float) -> HeldRow | HeldPlace | None:
        """Return what is to be tried now, if there is anything, and take it out of its line."""
        lines = (self._suspects, self._rows, self._places)
        due = [(first, line) for line in lines if (first := line.first(now)) is not None]
        if not due:
            return None
        _, line = min(due, key=lambda each: each[0][:2])
        return heapq.heappop(line.heap)[2]

    def spend(self, it: HeldRow | HeldPlace, now: float) -> None:
        """Take note that a row or a place is being tried; a first trial keeps nobody back."""
        if (line := self._line(it)) is not self._suspects:
            line.spend(now)

    def _line(self, it: HeldRow | HeldPlace) -> _Line:
        if isinstance(it, HeldPlace):
            return self._places
        return self._suspects if it.is_untried else self._rows
