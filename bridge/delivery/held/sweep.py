"""A second look at the rows that were passed over, up to where the first reading has come."""

from __future__ import annotations

from bridge.core.publish import WINDOW
from bridge.delivery.records import Records


class Sweep:
    """One second look.

    ``passed`` are the records of what it passes over again, ``cursor`` is the last row it has met.
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

    def landed(self, *, confirmed: bool) -> None:
        """Take note that a row has an outcome: a confirm doubles the window, all else closes it."""
        self.in_flight -= 1
        self.window = min(self.window * 2, WINDOW) if confirmed else 1
