"""What is tried at which time: first trials at once, all others at a bounded rate."""

from __future__ import annotations

import heapq
from itertools import count

from bridge.delivery.held.held_rows import HeldRow
from bridge.delivery.held.places import HeldPlace

TRIALS_A_SECOND = 20
"""Maximum number of places tried in a second, and of rows that were tried before. Each trial opens
a channel."""

_AT_ONCE_SECONDS = 0.1
"""How much of that time may be made up for after a pause."""

_Entry = tuple[float, int, HeldRow | HeldPlace]


class _Queue:
    """What waits, by time; ``spend`` keeps the next ones back for a moment."""

    def __init__(self) -> None:
        self.heap: list[_Entry] = []
        self._not_before = 0.0

    def first(self, now: float) -> _Entry | None:
        """Return the first entry if it is due and may be tried."""
        if not self.heap or now < self._not_before:
            return None
        return self.heap[0] if self.heap[0][0] <= now else None

    def spend(self, now: float) -> None:
        """Take note of a trial."""
        earliest = max(self._not_before, now - _AT_ONCE_SECONDS)
        self._not_before = earliest + 1 / TRIALS_A_SECOND


class Timetable:
    """Three queues by time: suspects, other rows, and places. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._suspects = _Queue()
        self._rows = _Queue()
        self._places = _Queue()
        self._order = count()

    def add(self, it: HeldRow | HeldPlace, at: float) -> None:
        """Let a row or a place wait until a time."""
        heapq.heappush(self._queue(it).heap, (at, next(self._order), it))

    def next(self, now: float) -> HeldRow | HeldPlace | None:
        """Return what is to be tried now, if there is anything, and remove it from its queue."""
        queues = (self._suspects, self._rows, self._places)
        due = [(first, queue) for queue in queues if (first := queue.first(now)) is not None]
        if not due:
            return None
        _, queue = min(due, key=lambda each: each[0][:2])
        return heapq.heappop(queue.heap)[2]

    def spend(self, it: HeldRow | HeldPlace, now: float) -> None:
        """Take note that a row or a place is being tried; a first trial keeps no other back."""
        if (queue := self._queue(it)) is not self._suspects:
            queue.spend(now)

    def _queue(self, it: HeldRow | HeldPlace) -> _Queue:
        if isinstance(it, HeldPlace):
            return self._places
        return self._suspects if it.is_untried else self._rows
