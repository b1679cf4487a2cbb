"""What is to be tried at which time: rows as they come, places at a bounded rate."""

from __future__ import annotations

import heapq
from itertools import count

from bridge.core.held import Held
from bridge.core.places import Aside

PLACES_A_SECOND = 20
"""Maximum number of trials of places in a second, however many are set aside: each is a channel."""

_AT_ONCE_SECONDS = 0.1
"""For how long that number may be made up for."""

_Heap = list[tuple[float, int, Held | Aside]]


class Due:
    """The line of those that wait for their time; times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._rows: _Heap = []
        self._places: _Heap = []
        self._order = count()
        self._place_not_before = 0.0

    def add(self, it: Held | Aside, at: float) -> None:
        """Let a row or a place wait until a time."""
        heap = self._places if isinstance(it, Aside) else self._rows
        heapq.heappush(heap, (at, next(self._order), it))

    def next(self, now: float) -> Held | Aside | None:
        """Return what is to be tried now, if there is anything, and take it out of the line."""
        heaps = [self._rows]
        if now >= self._place_not_before:
            heaps.append(self._places)
        due = [heap for heap in heaps if heap and heap[0][0] <= now]
        if not due:
            return None
        first = min(due, key=lambda heap: heap[0][:2])
        if first is self._places:
            earliest = max(self._place_not_before, now - _AT_ONCE_SECONDS)
            self._place_not_before = earliest + 1 / PLACES_A_SECOND
        return heapq.heappop(first)[2]
