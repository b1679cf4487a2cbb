"""Which events were accepted lately, and which are being accepted now.

SuperOffice sends an event up to three times. The first delivery does the work. One that comes
meanwhile waits for the result of the first. One that comes after a success is a duplicate. A
failure is forgotten at once, so the next attempt is a first one again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

Key = bytes
"""The key of an ``Identity``, which has the same size whatever the event holds."""


class Memory(Protocol):
    """The port to what is remembered: ``Dedup``, or nothing at all."""

    def was_accepted(self, key: Key) -> bool:
        """Return whether the event was accepted within the window."""
        ...

    def under_way(self, key: Key) -> Claim | None:
        """Return the first delivery of an event while it has no result."""
        ...

    def claim(self, key: Key) -> Claim:
        """Begin the first delivery of an event that is not under way."""
        ...

    def conclude(self, claim: Claim) -> None:
        """Remember or forget a delivery; called by the claim itself."""
        ...


class Claim:
    """The first delivery of an event, from its start to its result."""

    __slots__ = ("_dedup", "_waiters", "key", "succeeded")

    def __init__(self, dedup: Memory, key: Key) -> None:
        self._dedup = dedup
        self._waiters: list[Callable[[bool], None]] = []
        self.key = key
        self.succeeded = False

    def on_end(self, tell: Callable[[bool], None]) -> None:
        """Call back when the delivery has its result: whether the event was accepted."""
        self._waiters.append(tell)

    def end(self, *, succeeded: bool) -> None:
        """End the delivery, once: a success is remembered, a failure forgotten."""
        self.succeeded = succeeded
        self._dedup.conclude(self)
        for tell in self._waiters:
            tell(succeeded)


class Dedup:
    """Remembers accepted events for ``window`` seconds, at most ``max_events`` of them."""

    def __init__(self, *, window: float, max_events: int, clock: Callable[[], float]) -> None:
        self._window = window
        self._max_events = max_events
        self._clock = clock
        self._accepted: OrderedDict[Key, float] = OrderedDict()
        self._under_way: dict[Key, Claim] = {}

    def __len__(self) -> int:
        """Return how many accepted events are remembered."""
        return len(self._accepted)

    def was_accepted(self, key: Key) -> bool:
        """Return whether the event was accepted within the window."""
        accepted_at = self._accepted.get(key)
        return accepted_at is not None and self._clock() - accepted_at < self._window

    def under_way(self, key: Key) -> Claim | None:
        """Return the first delivery of an event while it has no result."""
        return self._under_way.get(key)

    def claim(self, key: Key) -> Claim:
        """Begin the first delivery of an event that is not under way."""
        claim = self._under_way[key] = Claim(self, key)
        return claim

    def conclude(self, claim: Claim) -> None:
        """Remember or forget a delivery; called by the claim itself."""
        del self._under_way[claim.key]
        if claim.succeeded and self._window > 0:
            self._accepted[claim.key] = self._clock()
            self._accepted.move_to_end(claim.key)
            self._forget()

    def _forget(self) -> None:
        """Forget events that are too old or too many, oldest first."""
        horizon = self._clock() - self._window
        while self._accepted:
            oldest = next(iter(self._accepted))
            if len(self._accepted) <= self._max_events and self._accepted[oldest] > horizon:
                return
            del self._accepted[oldest]
