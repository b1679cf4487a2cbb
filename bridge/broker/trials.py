"""Publishing a message alone, because it may be why the broker closed a channel.

A channel that ends with a single message on it leaves no doubt about the cause, and meanwhile the
other messages go on. A message that may end a whole connection gets a connection of its own. Where
the broker allows no further channel, the message goes on the channel of all others, one such
message at a time.
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
from bridge.broker.connection import Connection, connect
from bridge.broker.errors import broker_errors, ended_for_cause
from bridge.broker.limits import BrokerLimits
from bridge.broker.returns import Unrouted
from bridge.broker.session import Session
from bridge.core.errors import BrokerError, NoRoom
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish
from bridge.sampling import Sampled, note_events

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _OwnChannel:
    """A channel for one message; ``apart``: its connection is for that message only, too."""

    connection: Connection
    channel: aiormq.Channel
    apart: bool


class Trials:
    """The trials that are under way."""

    def __init__(self, unrouted: Unrouted, limits: BrokerLimits, *, patience: float) -> None:
        """Take what a channel needs; a trial waits for its confirm for ``patience`` seconds."""
        self._unrouted = unrouted
        self._limits = limits
        self._patience = patience
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._lines = Sampled(note_events)

    def start(self, message: Message, session: Session, *, apart: bool) -> Publish:
        """Publish a message on a channel of its own, and close that channel afterwards.

        With ``apart``, or where the session's connection has no channel left, the channel gets a
        connection of its own. Where the broker allows neither, the message goes on the session's
        channel.
        """
        publish = Publish(message)
        task = asyncio.create_task(self._run(publish, session, apart))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A callback, not a ``finally`` in the task: a task that is cancelled before its first step
        # runs none of its code, and the publish would never be settled.
        task.add_done_callback(lambda _: _settle(publish, Outcome.NOT_SENT))
        return publish

    def cancel(self) -> None:
        """Cancel all trials: the session's connection is about to be closed."""
        for task in list(self._tasks):
            task.cancel()

    async def _run(self, publish: Publish, session: Session, apart: bool) -> None:
        try:
            with suppress(BrokerError, TimeoutError), broker_errors("a trial"):
                async with AsyncExitStack() as stack:
                    if (own := await self._open_channel(session, apart, stack)) is not None:
                        await self._try_alone(publish, own)
                        return
                async with self._turn:
                    await self._try_among_others(publish, session.channel)
        except MemoryError:
            return  # there may be memory later: the publish is settled as not sent
        except Exception as error:
            _settle(publish, Outcome.REFUSED)
            log.error("message_invalid", event_id=publish.message.message_id, error=repr(error))

    async def _open_channel(
        self, session: Session, apart: bool, stack: AsyncExitStack
    ) -> _OwnChannel | None:
        """Open a channel; return None if the broker allows none."""
        shared = session.connection
        if not apart and self._limits.allows_channel and shared.has_free_channel:
            try:
                return _OwnChannel(shared, await shared.channel(), apart=False)
            except NoRoom as error:  # the limit was unknown, and RabbitMQ has closed the connection
                self._limits.note_refused_channel(error)
                raise
        if not self._limits.allows_connection:
            return None
        try:
            own = await stack.enter_async_context(_connected(session.url))
            return _OwnChannel(own, await own.channel(), apart=True)
        except NoRoom as error:
            self._limits.note_refused_connection(error)
            return None

    async def _try_alone(self, publish: Publish, own: _OwnChannel) -> None:
        tried, settled = Publish(publish.message), asyncio.Event()

        def pass_on(tried: Publish) -> None:
            settled.set()
            refused = own.apart and ended_for_cause(own.channel)
            publish.culprit = tried.culprit or refused
            publish.settle(Outcome.REFUSED if refused else tried.outcome or Outcome.NOT_SENT)

        tried.on_settled(pass_on)
        confirms = ConfirmChannel(
            own.channel,
            write=own.connection.write,
            tap=own.connection.tap,
            unrouted=self._unrouted,
            closed=self._log_end,
        )
        confirms.send(tried)
        try:
            await set_within(settled, self._patience)
        finally:
            if tried.outcome is None:
                confirms.abandon(f"not confirmed within {self._patience:g} s")
            confirms.is_closed = True  # what the broker says from now on is about nothing
        # RabbitMQ may not answer: a queue that does not confirm holds up the whole channel.
        async with asyncio.timeout(self._patience):
            await own.channel.close()

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
            if tried.outcome is None:  # the trial is over, but the message stays in flight
                tried.suspect = False
                tried.on_settled(None)
                publish.straggler = tried
                publish.settle(Outcome.UNKNOWN)

    def _log_end(self, reason: str) -> None:
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
