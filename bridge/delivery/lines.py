"""One at a time of each kind, the others in line behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Lines(Generic[K, T]):
    """Who is being served, by key, and who waits; a key nobody needs takes no memory."""

    def __init__(self) -> None:
        self._lines: dict[K, deque[T] | None] = {}  # most keys never have a line

    def __len__(self) -> int:
        """Return how many keys are being served."""
        return len(self._lines)

    def __contains__(self, key: object) -> bool:
        """Return whether somebody of this key is being served."""
        return key in self._lines

    def enter(self, key: K, item: T) -> bool:
        """Return True if the item is served at once; otherwise it waits in its key's line."""
        if key not in self._lines:
            self._lines[key] = None
            return True
        line = self._lines[key]
        if line is None:
            line = self._lines[key] = deque()
        line.append(item)
        return False

    def next(self, key: K) -> T | None:
        """End the service of the present item; return the next, which is then being served."""
        line = self._lines[key]
        if line:
            return line.popleft()
        del self._lines[key]
        return None

    def close(self, key: K) -> list[T]:
        """End the service of the present item and send everybody in its line away, in order."""
        return list(self._lines.pop(key) or ())

    def drop_waiting(self) -> None:
        """Send everybody who waits away; who is being served stays."""
        self._lines = dict.fromkeys(self._lines)
