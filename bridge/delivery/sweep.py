"""A second look at what was passed over, up to where the pass over the disk is."""

from __future__ import annotations

from bridge.delivery.aside import Shelf
from bridge.delivery.records import Records

_WINDOW = 256
_REST = 9
"""Number of times as long as a sweep took, until the next: sweeps cost a tenth of the time."""

_REST_AT_MOST = 600.0
"""Maximum seconds of that."""

AT_LEAST_EVERY_SECONDS = 3600.0
"""How often there is a sweep while anything is set aside, for whatever a filter has taken wrongly
for a record that waits."""


class Sweep:
    """One of them. ``passed`` is what it passes over again, ``cursor`` the last row it has met.

    ``busy`` is how many seconds it has spent on reading, ``window`` how many rows it may have in
    flight.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self.cursor = 0
        self.passed = Records()
        self.window = 1
        self.in_flight = 0

    @property
    def is_busy(self) -> bool:
        """Return whether to wait before reading: few rows would be published of those read."""
        return self.in_flight > self.window // 2

    def note(self, *, taken: bool) -> None:
        """Take the outcome of a row: what is taken doubles the window, what is not closes it."""
        self.in_flight -= 1
        self.window = min(self.window * 2, _WINDOW) if taken else 1


class Pace:
    """When sweeps begin, and what is done when they end."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._ended = 0.0

    def begin(self, shelf: Shelf, now: float) -> Sweep | None:
        """Return a new sweep if there is a reason and it is time."""
        if not len(shelf.passed):
            self._ended = now
        elif now - self._ended >= AT_LEAST_EVERY_SECONDS:
            shelf.wants_sweep = True
        if not shelf.wants_sweep or now < self._not_before:
            return None
        shelf.begin_sweep()
        return Sweep()

    def end(self, sweep: Sweep, shelf: Shelf, now: float) -> None:
        """Let what was passed over again be all that is."""
        shelf.end_sweep(sweep.passed)
        self._ended = now
        self._not_before = now + min(_REST * sweep.busy, _REST_AT_MOST)
