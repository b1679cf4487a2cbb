"""Asking the broker for a sign of life while no confirm comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from bridge.broker.connection import Connection, connect
from bridge.broker.errors import broker_errors
from bridge.broker.limits import BrokerLimits
from bridge.core.errors import NoRoom


class LivenessCheck:
    """Opens and closes a channel: a broker that answers is alive.

    A queue that never confirms looks like a broker that has died. The channel that publishes
    cannot be used to find out, because RabbitMQ answers nothing on it while it waits for a queue.
    """

    def __init__(
        self,
        url: str,
        connection: Connection,
        limits: BrokerLimits,
        *,
        on_answer: Callable[[], None],
    ) -> None:
        self._url = url
        self._connection = connection
        self._limits = limits
        self._on_answer = on_answer
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask, unless the last question is still open."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ask())

    def stop(self) -> None:
        """Wait for no answer any more: the connection is about to be closed."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self) -> None:
        with suppress(Exception), broker_errors("a question", Exception):
            if await self.is_answered():
                self._on_answer()

    async def is_answered(self) -> bool:
        """Return whether the broker opens a channel.

        On another connection a refusal is an answer as well: the broker is alive.
        """
        if self._limits.allows_channel and self._connection.has_free_channel:
            try:
                await (await self._connection.channel()).close()
            except NoRoom as error:  # RabbitMQ has closed the connection
                self._limits.note_refused_channel(error)
                return False
            return True
        try:
            await (await connect(self._url, purpose="question")).close()
        except NoRoom as error:
            self._limits.note_refused_connection(error)
        return True
