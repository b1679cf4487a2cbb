"""The twin's clock, which can be sped up: its pauses and lifetimes, never its timestamps."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """A clock on which pauses are shorter by one factor.

    With ``speed=20`` the pause of 4 s before the third attempt takes 0.2 s, and a ticket dies after
    18 minutes. What the twin writes down is real time, to be compared with the times of a bridge.
    """

    def __init__(self, *, speed: float = 1.0) -> None:
        self.speed = speed
        self._skipped = 0.0

    def now(self) -> datetime:
        """Return the real time."""
        return datetime.now(UTC)

    def seconds(self) -> float:
        """Return a time that runs ``speed`` times faster than real time and never goes back."""
        return time.monotonic() * self.speed + self._skipped

    def skip(self, seconds: float) -> None:
        """Let lifetimes pass at once. Pauses that have begun are not shortened."""
        self._skipped += seconds

    async def sleep(self, seconds: float) -> None:
        """Pause for ``seconds`` of this clock."""
        await asyncio.sleep(seconds / self.speed)
