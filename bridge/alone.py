"""Channels for one thing alone: a message under suspicion, or the question whether anybody answers.

A channel that ends with a single message on it leaves no doubt about the cause, and the messages of
others go on meanwhile on theirs. What may end a whole connection is given one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import structlog

from bridge.confirms import ConfirmChannel
from bridge.connection import Connection, broker_errors, connect, ended_for_cause
from bridge.core.errors import BrokerError
from bridge.core.message import Message
from bridge.failures import Sampled, note_events
from bridge.ports import Outcome, Publish

Reroute = Callable[[Publish, ConfirmChannel], None]

log = structlog.get_logger()


class Trials:
    """The messages that are published alone now."""

    def __init__(self, reroute: Reroute, *, patience: float) -> None:
        """Take what sends the copy of a returned message, and the seconds until one is given up."""
        self._reroute = reroute
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()
        self._lines = Sampled(note_events)

    def begin(self, message: Message, connection: Connection | None, url: str) -> Publish:
        """Publish a message on a channel of its own, which is closed afterwards.

        Without a connection, or room on it, it has one of its own, to the URL.
        """
        publish = Publish(message)
        task = asyncio.create_task(self._run(publish, connection, url))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return publish

    def end(self) -> None:
        """End all: their connection is about to be closed."""
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, publish: Publish, connection: Connection | None, url: str) -> None:
        try:
            with suppress(BrokerError, TimeoutError), broker_errors("a trial"):
                if connection is not None and connection.has_room:
                    await self._try(publish, connection)
                    return
                async with _connected(url) as own:
                    await self._try(publish, own, apart=True)
        except Exception as error:
            log.error("message_invalid", event_id=publish.message.message_id, error=repr(error))
            _settle(publish, Outcome.REFUSED)
        finally:
            _settle(publish, Outcome.AWAY)

    async def _try(self, publish: Publish, connection: Connection, *, apart: bool = False) -> None:
        channel = await connection.channel()
        tried, settled = Publish(publish.message), asyncio.Event()

        def pass_on(tried: Publish) -> None:
            settled.set()
            refused = apart and ended_for_cause(channel)
            publish.culprit = tried.culprit or refused
            publish.settle(Outcome.REFUSED if refused else tried.outcome or Outcome.AWAY)

        tried.on_settled(pass_on)
        own = ConfirmChannel(
            channel,
            write=connection.write,
            returned=lambda returned: self._reroute(returned, own),
            closed=self._note_ended,
        )
        own.send(tried)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await settled.wait()
        finally:
            if tried.outcome is None:
                own.abandon(f"not confirmed within {self._patience:g} s")
            own.is_closed = True
        async with asyncio.timeout(self._patience):  # a silent queue may keep it from an answer
            await channel.close()

    def _note_ended(self, reason: str) -> None:
        if self._lines.lets("trial_ended"):
            log.info("trial_ended", reason=reason)


def _settle(publish: Publish, outcome: Outcome) -> None:
    if publish.outcome is None:
        publish.settle(outcome)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Connection]:
    connection = await connect(url, purpose="trial")
    try:
        yield connection
    finally:
        await connection.close()


async def answers(connection: Connection) -> bool:
    """Return whether the broker opens a channel on a connection, or another connection."""
    with suppress(BrokerError, TimeoutError), broker_errors("a question"):
        if not connection.has_room:
            await (await connection.another(purpose="question")).close()
            return True
        await (await connection.channel()).close()
        return True
    return False
