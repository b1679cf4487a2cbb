"""The age of the oldest event on the disk, for metrics and the admin pages."""

from __future__ import annotations

import asyncio

from bridge.spool import Spool

_LOOK_SECONDS = 1.0


class OldestAge:
    """Looks the age up once a second, so that asking for it costs nothing."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._looked_at = 0.0
        self.seconds = 0.0

    async def look(self) -> None:
        """Look at the disk if the last look is long enough ago."""
        now = self._loop.time()
        if now - self._looked_at >= _LOOK_SECONDS:
            self._looked_at = now
            self.seconds = await self._spool.oldest_seconds()
