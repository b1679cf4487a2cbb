"""Channels for one thing alone: a message under suspicion, or the question whether anybody answers.

A channel that ends with a single message on it leaves no doubt about the cause, and the messages of
others go on meanwhile on theirs. What may end a whole connection is given one of its own. Where the
broker allows no further channel, the message goes among the others, and no other suspect with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import aiormq
import structlog

from bridge.aio import set_within
from bridge.broker.channel import ConfirmChannel
from bridge.broker.connection import Connection, broker_errors, connect, ended_for_cause
from bridge.broker.limits import BrokerLimits
from bridge.broker.returns import Unrouted
from bridge.core.errors import BrokerError, NoRoom
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish
from bridge.sampling import Sampled, note_events

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Site:
    """Where everything else is published."""

    connection: Connection
    channel: ConfirmChannel
    url: str


@dataclass(frozen=True, slots=True)
class _Beside:
    """A channel for one message, and whether its connection is for that one as well."""

    connection: Connection
    channel: aiormq.Channel
    apart: bool


class Trials:
    """The messages that are published alone now."""

    def __init__(self, unrouted: Unrouted, limits: BrokerLimits, *, patience: float) -> None:
        """Take the way of a returned message, and the seconds until one is given up."""
        self._unrouted = unrouted
        self._limits = limits
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._lines = Sampled(note_events)

    def begin(self, message: Message, site: Site, *, apart: bool) -> Publish:
        """Publish a message on a channel of its own, which is closed afterwards.

        ``apart``, or without room on the connection, it has one of its own. If not even that may
        have a channel, it is published on the channel of the others.
        """
        publish = Publish(message)
        task = asyncio.create_task(self._run(publish, site, apart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Not at the end of the task's own code, of which nothing runs when it ends before it began.
        task.add_done_callback(lambda _: _settle(publish, Outcome.NOT_SENT))
        return publish

    def cancel(self) -> None:
        """End all: their connection is about to be closed."""
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, publish: Publish, site: Site, apart: bool) -> None:
        try:
            with suppress(BrokerError, TimeoutError), broker_errors("a trial"):
                async with AsyncExitStack() as stack:
                    if (beside := await self._open_channel(site, apart, stack)) is not None:
                        await self._try(publish, beside)
                        return
                async with self._turn:
                    await self._try_among_others(publish, site.channel)
        except MemoryError:
            return  # there may be some later
        except Exception as error:
            _settle(publish, Outcome.REFUSED)
            log.error("message_invalid", event_id=publish.message.message_id, error=repr(error))

    async def _open_channel(self, site: Site, apart: bool, stack: AsyncExitStack) -> _Beside | None:
        """Open a channel; return None if the broker allows none anywhere."""
        if not apart and self._limits.allows_channel and site.connection.has_free_channel:
            try:
                return _Beside(site.connection, await site.connection.channel(), apart=False)
            except NoRoom as error:  # it was not known before, and has cost the connection
                self._limits.note_refused_channel(error)
                raise
        if not self._limits.allows_connection:
            return None
        try:
            own = await stack.enter_async_context(_connected(site.url))
            return _Beside(own, await own.channel(), apart=True)
        except NoRoom as error:
            self._limits.note_refused_connection(error)
            return None

    async def _try_among_others(self, publish: Publish, channel: ConfirmChannel) -> None:
        tried, settled = Publish(publish.message), asyncio.Event()
        tried.suspect = True

        def pass_on(tried: Publish) -> None:
            settled.set()
            publish.culprit = tried.culprit
            publish.settle(tried.outcome or Outcome.NOT_SENT)

        tried.on_settled(pass_on)
        channel.send(tried)
        try:
            await set_within(settled, self._patience)
        finally:
            if tried.outcome is None:
                tried.suspect = False
                tried.on_settled(None)
                publish.straggler = tried
                publish.settle(Outcome.UNKNOWN)

    async def _try(self, publish: Publish, beside: _Beside) -> None:
        channel = beside.channel
        tried, settled = Publish(publish.message), asyncio.Event()

        def pass_on(tried: Publish) -> None:
            settled.set()
            refused = beside.apart and ended_for_cause(channel)
            publish.culprit = tried.culprit or refused
            publish.settle(Outcome.REFUSED if refused else tried.outcome or Outcome.NOT_SENT)

        tried.on_settled(pass_on)
        own = ConfirmChannel(
            channel,
            write=beside.connection.write,
            unrouted=self._unrouted,
            closed=self._note_ended,
        )
        own.send(tried)
        try:
            await set_within(settled, self._patience)
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
