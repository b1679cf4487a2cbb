"""Asking the broker for a sign of life while no confirm comes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bridge.broker.connection import broker_errors, connect
from bridge.broker.limits import BrokerLimits
from bridge.broker.trials import Site
from bridge.core.errors import NoRoom


class LivenessCheck:
    """Opens and closes a channel: a broker that answers is alive.

    A queue that never confirms looks like a broker that has died. The channel that publishes
    cannot be used to find out, because RabbitMQ answers nothing on it while it waits for a queue.
    """

    def __init__(self, limits: BrokerLimits) -> None:
        self._limits = limits
        self._task: asyncio.Task[None] | None = None

    def start(self, site: Site) -> None:
        """Ask, unless an answer is awaited already; the answer is noted on the site's channel."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask(site))

    def stop(self) -> None:
        """Await no answer any more, because the connection is about to be closed."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self, site: Site) -> None:
        with suppress(Exception), broker_errors("a question", Exception):
            if await self.is_answered(site):
                site.channel.note_answer()

    async def is_answered(self, site: Site) -> bool:
        """Return whether the broker opens a channel.

        On another connection a refusal is an answer as well: the broker is alive.
        """
        if self._limits.allows_channel and site.connection.has_free_channel:
            try:
                await (await site.connection.channel()).close()
            except NoRoom as error:  # RabbitMQ has closed the connection
                self._limits.note_refused_channel(error)
                return False
            return True
        try:
            await (await connect(site.url, purpose="question")).close()
        except NoRoom as error:
            self._limits.note_refused_connection(error)
        return True
