"""The unconfirmed publishes of one channel, by delivery tag, and how many there may be.

A publish that has waited too long is *overdue*. It takes no place of the window, so that a queue
that never confirms does not stop the messages of the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import takewhile

from bridge.core.publish import WINDOW, WINDOW_BYTES, Publish


class Window:
    """Counts publishes as the broker does: the first on a channel has delivery tag 1."""

    def __init__(self) -> None:
        self.publishes: dict[int, Publish] = {}
        """The unconfirmed publishes, in the order of their tags."""
        self.latest = 0
        """The tag of the latest publish."""
        self.written = 0
        """The tag of the latest publish that was written to the connection."""
        self.overdue = 0
        """Number of overdue publishes."""
        self._bytes = 0
        self._looks: deque[tuple[float, int]] = deque()
        self._overdue_up_to = 0

    @property
    def is_full(self) -> bool:
        """Return whether the next publish has to wait."""
        return len(self.publishes) - self.overdue >= WINDOW or self._bytes >= WINDOW_BYTES

    @property
    def oldest(self) -> int:
        """Return the lowest tag, 0 if there is none."""
        return next(iter(self.publishes), 0)

    def add(self, publish: Publish) -> None:
        """Give the next tag to a publish."""
        self.latest += 1
        self.publishes[self.latest] = publish
        self._bytes += len(publish.message.body)

    def pop(self, tag: int) -> Publish | None:
        """Take out the publish with a tag; return None if there is none."""
        publish = self.publishes.pop(tag, None)
        if publish is None:
            return None
        if tag <= self._overdue_up_to:
            self.overdue -= 1
        else:
            self._bytes -= len(publish.message.body)
        return publish

    def pop_all(self) -> Iterator[Publish]:
        """Take out all publishes, the oldest first."""
        self.overdue = 0
        while self.publishes:
            yield self.publishes.pop(self.oldest)

    def confirmed(self, tag: int, multiple: bool) -> list[int]:
        """Return the tags that a confirm is for; with ``multiple``, 0 means all that were written.

        What was not written yet cannot have been confirmed, so a broker that says so is wrong.
        """
        if tag > self.written:
            return []
        if multiple:
            return self._up_to(tag or self.written)
        return [tag] if tag in self.publishes else []

    def note_overdue(self, now: float, patience: float) -> None:
        """Count the publishes that are older than ``patience`` seconds; called every moment.

        No publish has a time of its own: each look notes the latest tag, and whatever has a tag of
        an old look is old.
        """
        self._looks.append((now, self.latest))
        while self._looks[0][0] <= now - patience:
            _, up_to = self._looks.popleft()
            for tag in self._up_to(up_to):
                if tag > self._overdue_up_to:
                    self.overdue += 1
                    self._bytes -= len(self.publishes[tag].message.body)
            self._overdue_up_to = max(self._overdue_up_to, up_to)

    def _up_to(self, last: int) -> list[int]:
        return list(takewhile(last.__ge__, self.publishes))
