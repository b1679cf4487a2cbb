"""Opening and closing one AMQP connection, and turning its errors into ours."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aio_pika
import aiormq
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from aiormq.exceptions import AMQPError, AuthenticationError, ProbableAuthenticationError
from pamqp.exceptions import PAMQPException
from yarl import URL

from bridge import tls
from bridge.core.errors import BrokerUnreachable

HEARTBEAT = 5
"""Seconds; RabbitMQ recommends 5 to 20, and below 5 a busy machine gives false alarms."""

ANSWER_SECONDS = 5.0
"""For a connection to be there, and then for each thing that the broker is asked."""

_CLOSE_SECONDS = 2.0

_ENABLE = "enable rabbitmq_auth_mechanism_ssl and name EXTERNAL in auth_mechanisms there"
_NAMESAKE = (
    "RabbitMQ must have a user with the name in [broker] client_certificate: which name counts is"
    " its ssl_cert_login_from"
)

_ERRORS = (AMQPError, PAMQPException, OSError, ssl.SSLError, TimeoutError, RuntimeError, ValueError)
"""All that a dying connection may raise; aiormq's ChannelInvalidStateError is a RuntimeError."""


class Connection:
    """One connection to RabbitMQ; ``amqp`` is aio-pika's."""

    def __init__(self, url: str, *, purpose: str) -> None:
        self._transport = _Transport(TLSTransportFactory() if _is_tls(url) else None)
        query = {"heartbeat": str(HEARTBEAT), "name": f"superoffice-bridge {purpose}"}
        self.amqp = aio_pika.Connection(URL(url).update_query(query))
        self.amqp.kwargs["transport_factory"] = self._transport

    @property
    def is_closed(self) -> bool:
        """Return whether the connection is gone or going."""
        transport = self.amqp.transport
        return transport is None or transport.connection.is_closed

    @property
    def is_blocked(self) -> bool:
        """Return whether the broker has stopped reading from us (``connection.blocked``).

        aiormq tells of the state only by ``ready()``, which waits while blocked: one step of it
        shows which.
        """
        if self.amqp.transport is None:
            return False
        probe = self.amqp.transport.connection.ready().__await__()
        try:
            next(probe)
        except StopIteration:
            return False
        probe.close()
        return True

    async def channel(self) -> aiormq.Channel:
        """Open a channel in confirm mode and return aiormq's; raises ``TimeoutError``."""
        async with asyncio.timeout(ANSWER_SECONDS):
            channel = await self.amqp.channel()
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, aiormq.Channel)  # noqa: S101  # no other kind is ever made
        return underlay

    def write(self, frames: bytes) -> None:
        """Put whole frames on the wire, beside what aiormq writes; dropped when that is gone."""
        self._transport.write(frames)

    def abort(self) -> None:
        """Cut the connection at once, without the closing handshake: the peer does not answer."""
        self._transport.abort()

    async def close(self) -> None:
        """Close with the handshake, or without it when the broker takes too long."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.amqp.close()
        except _ERRORS:
            self.abort()


class _Transport(TransportFactory):
    """Remembers the transport, which aiormq keeps to itself."""

    def __init__(self, factory: TransportFactory | None) -> None:
        self._factory = factory or TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._factory.create(url, **kwargs)
        return reader, self._writer

    def write(self, data: bytes) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(data)

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def connect(url: str, *, purpose: str) -> Connection:
    """Open a connection; raises ``BrokerUnreachable`` with the cause, never with the password."""
    connection = Connection(url, purpose=purpose)
    try:
        with broker_errors(url):
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.amqp.connect()
    except BaseException:
        connection.abort()
        await connection.close()
        raise
    return connection


@asynccontextmanager
async def connected(url: str, *, purpose: str) -> AsyncIterator[aio_pika.abc.AbstractConnection]:
    """Open a connection for a while; errors in the block are translated too."""
    connection = await connect(url, purpose=purpose)
    try:
        with broker_errors(url):
            yield connection.amqp
    finally:
        await connection.close()


@contextmanager
def broker_errors(url: str) -> Iterator[None]:
    """Translate what aio-pika raises into ``BrokerUnreachable``.

    A lost connection may surface as a CancelledError although nobody cancelled the task, and a
    cancellation may be lost while aiormq closes a channel; the task's own count of them tells.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise BrokerUnreachable(f"{safe_url(url)}: the connection was lost") from error
    except _ERRORS as error:
        if _is_cancelled():
            raise asyncio.CancelledError from error
        raise BrokerUnreachable(f"{safe_url(url)}: {describe(error)}") from error
    if _is_cancelled():
        raise asyncio.CancelledError


def _is_cancelled() -> bool:
    """Return whether somebody has asked the present task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def describe(error: BaseException) -> str:
    """Return the cause in words: some of these errors have an empty text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    if isinstance(error, AuthenticationError):
        return f"the broker offers {error.args[0]}: change [broker] auth, or {_ENABLE}"
    if isinstance(error, ProbableAuthenticationError) and "EXTERNAL" in str(error):
        return f"{error} {_NAMESAKE}"
    return tls.explain(error) or str(error) or type(error).__name__


def safe_url(url: str) -> str:
    """Return the URL without its password, and without what libraries take in its query."""
    parsed = URL(url).with_query(None)
    return str(parsed.with_password("***") if parsed.password else parsed)


def _is_tls(url: str) -> bool:
    return URL(url).scheme == "amqps"
