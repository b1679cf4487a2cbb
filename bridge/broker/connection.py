"""Opening and closing one AMQP connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
import aiormq
from yarl import URL

from bridge.aio import is_cancelled
from bridge.broker.aiormq_adapter import Amqp, Transport, free_channel
from bridge.broker.errors import ANSWER_SECONDS, broker_errors, is_limit, safe_url, unreachable
from bridge.broker.tap import Tap
from bridge.core.errors import BrokerUnreachable, NoRoom

HEARTBEAT = 5
"""Seconds between heartbeats. RabbitMQ recommends 5 to 20; below 5, a busy machine seems dead."""

_CLOSE_SECONDS = 2.0
"""How long the closing handshake may take."""


class Connection:
    """One connection to RabbitMQ; ``amqp`` is aio-pika's."""

    def __init__(self, url: str, *, purpose: str) -> None:
        self._url = url
        self._transport = Transport()
        query = {"heartbeat": str(HEARTBEAT), "name": f"superoffice-bridge {purpose}"}
        self.amqp = Amqp(URL(url).update_query(query))
        self.amqp.kwargs["transport_factory"] = self._transport

    @property
    def is_closed(self) -> bool:
        """Return whether the connection is lost, or is being closed."""
        transport = self.amqp.transport
        return transport is None or transport.connection.is_closed

    @property
    def end(self) -> BaseException | None:
        """Return the error that ended the connection, with the broker's words if it gave any."""
        if self.amqp.transport is None:
            return None
        closing = self.amqp.transport.connection.closing
        return closing.exception() if closing.done() and not closing.cancelled() else None

    @property
    def is_blocked(self) -> bool:
        """Return whether the broker has stopped reading from us (``connection.blocked``)."""
        if self.amqp.transport is None:
            return False
        # aiormq shows the state only by ``ready()``, a coroutine that waits while the connection is
        # blocked. So take one step of it by hand. If it ends with that, nothing is blocked.
        probe = self.amqp.transport.connection.ready().__await__()
        try:
            next(probe)
        except StopIteration:
            return False
        probe.close()
        return True

    async def channel(self) -> aiormq.Channel:
        """Open a channel in confirm mode, and return aiormq's.

        Raises ``BrokerUnreachable``, or ``NoRoom`` if it would be one channel too many. If it was
        RabbitMQ that said so, it has closed the connection.
        """
        try:
            with broker_errors(self._url, Exception):
                async with asyncio.timeout(ANSWER_SECONDS):
                    channel = await self.amqp.channel(self._free_channel())
                underlay = await channel.get_underlay_channel()
        except BrokerUnreachable:
            if (end := self.end) is not None and is_limit(end):
                raise unreachable(self._url, end) from end
            raise
        assert isinstance(underlay, aiormq.Channel)  # noqa: S101  # no other kind is ever made
        return underlay

    @property
    def has_free_channel(self) -> bool:
        """Return whether one more channel was negotiated for this connection."""
        return self.amqp.transport is None or bool(free_channel(self.amqp.transport.connection))

    def _free_channel(self) -> int:
        if self.amqp.transport is None:
            raise BrokerUnreachable(f"{safe_url(self._url)}: the connection was lost")
        number = free_channel(self.amqp.transport.connection)
        if number is None:
            raise NoRoom(f"{safe_url(self._url)}: no more channels (channel_max)")
        return number

    @property
    def tap(self) -> Tap:
        """Return what takes the confirms out of the bytes that come."""
        return self._transport.tap

    def write(self, frames: bytes) -> None:
        """Put whole frames on the wire; drop them if the connection is gone."""
        # aiormq writes to the same transport. Each of its writes is whole frames, too.
        self._transport.write(frames)

    def abort(self) -> None:
        """Cut the connection at once, without the closing handshake."""
        self._transport.abort()

    async def close(self) -> None:
        """Close with the handshake, or without it if the broker takes too long."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.amqp.close()
        except asyncio.CancelledError:
            self.abort()
            if is_cancelled():  # else aiormq has cancelled what it waited for itself
                raise
        except Exception:
            self.abort()


async def connect(url: str, *, purpose: str) -> Connection:
    """Open a connection; raises ``BrokerUnreachable`` with the cause, never with the password.

    The other end may be anything, so any exception of the libraries is such a cause.
    """
    with broker_errors(url, Exception):
        connection = Connection(url, purpose=purpose)
    try:
        with broker_errors(url, Exception):
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.amqp.connect()
    except BaseException:
        connection.abort()
        await connection.close()
        raise
    return connection


@asynccontextmanager
async def connected(url: str, *, purpose: str) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
    """Open a connection for the length of a block; errors in the block are translated too."""
    connection = await connect(url, purpose=purpose)
    try:
        with broker_errors(url):
            yield connection.amqp
    finally:
        await connection.close()
