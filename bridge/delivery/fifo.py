"""A FIFO for each key: one item is active, the others wait behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class FifoPerKey(Generic[K, T]):
    """The items that are active or wait, by key. An idle key takes no memory."""

    def __init__(self) -> None:
        self._waiting: dict[K, deque[T] | None] = {}  # most keys never have an item that waits

    def __len__(self) -> int:
        """Return how many keys have an active item."""
        return len(self._waiting)

    def __contains__(self, key: object) -> bool:
        """Return whether an item of this key is active."""
        return key in self._waiting

    def enter(self, key: K, item: T) -> bool:
        """Return True if the item is active at once, False if it waits behind another one."""
        if key not in self._waiting:
            self._waiting[key] = None
            return True
        waiting = self._waiting[key]
        if waiting is None:
            waiting = self._waiting[key] = deque()
        waiting.append(item)
        return False

    def next(self, key: K) -> T | None:
        """End the active item; return the next one, which is active from now on."""
        waiting = self._waiting[key]
        if waiting:
            return waiting.popleft()
        del self._waiting[key]
        return None

    def close(self, key: K) -> list[T]:
        """End the active item; remove all that wait behind it and return them in order."""
        return list(self._waiting.pop(key) or ())
