"""Many samples of one event, sent at a constant rate or as fast as the answers come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from bridge.cli.clients.poster import SampleClient, SendResult
from bridge.cli.errors import Unavailable
from bridge.cli.runtime import task_group

IN_FLIGHT = 16
"""How many samples wait for an answer at a time, unless a rate is given."""


class LoadGenerator:
    """Sends each sample once; ``results`` fills up in the order of the answers."""

    def __init__(
        self, client: SampleClient, samples: Iterator[dict[str, Any]], advance: Callable[[], None]
    ) -> None:
        """Take where to send, what to send, and what to call for each result."""
        self.results: list[SendResult] = []
        self._client = client
        self._samples = samples
        self._advance = advance

    async def at_full_speed(self) -> None:
        """Send the next sample whenever one is answered."""
        async with task_group() as tasks:
            for _ in range(IN_FLIGHT):
                tasks.create_task(self._work())

    async def at_rate(self, rate: float) -> None:
        """Send ``rate`` samples per second, and count the latency of each from when it was due.

        So a slow answer delays no other sample, and a sample that we send late does not look fast.
        """
        started = time.perf_counter()
        async with task_group() as tasks:
            for number, content in enumerate(self._samples):
                due = started + number / rate
                await asyncio.sleep(due - time.perf_counter())
                tasks.create_task(self._send(content, due))

    async def _work(self) -> None:
        for content in self._samples:
            await self._send(content, time.perf_counter())

    async def _send(self, content: dict[str, Any], due: float) -> None:
        try:
            result = await self._client.send(content, due=due)
        except Unavailable:
            if not self.results:
                raise
            # The bridge was there a moment ago: that is a result, not a reason to stop.
            kind, seconds = "no answer: connection refused", time.perf_counter() - due
            result = SendResult("", kind, seconds, ok=False)
        self.results.append(result)
        self._advance()
