"""Opening and closing one AMQP connection, and translating the errors of the libraries."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import aio_pika
import aiormq
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ConnectionClosed,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
from pamqp.exceptions import PAMQPException
from yarl import URL

from bridge import tls
from bridge.aio import is_cancelled
from bridge.broker.aiormq_adapter import Amqp, Transport, free_channel
from bridge.core.errors import BridgeError, BrokerUnreachable, NoRoom

HEARTBEAT = 5
"""Seconds between heartbeats. RabbitMQ recommends 5 to 20; below 5, a busy machine seems dead."""

ANSWER_SECONDS = 5.0
"""How long to wait for a connection, and for each answer of the broker."""

_CLOSE_SECONDS = 2.0
"""How long the closing handshake may take."""

_ENABLE = "enable rabbitmq_auth_mechanism_ssl and name EXTERNAL in auth_mechanisms there"
_NAMESAKE = (
    "RabbitMQ must have a user with the name in [broker] client_certificate: which name counts is"
    " its ssl_cert_login_from"
)

_ERRORS = (
    AMQPError,
    PAMQPException,
    EOFError,
    LookupError,
    OSError,
    ssl.SSLError,
    TimeoutError,
    RuntimeError,  # aiormq's ChannelInvalidStateError is one
    ValueError,
    struct.error,
)
"""Everything that a dying connection may raise."""

_NOT_ALLOWED = 530
"""Reply code for a limit, but also for a virtual host that does not exist."""
_LIMIT = re.compile("limit|channel_max")
"""Words of RabbitMQ's text with 530 when there are too many channels or connections."""

_OBJECT = re.compile(r"<([\w.]+)[^<>]* (?:at )?0x[0-9a-f]+>")
"""How Python shows an object that has no text of its own: a name and an address."""


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
            if (end := self.end) is not None and _is_limit(end):
                raise _unreachable(self._url, end) from end
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


@contextmanager
def broker_errors(url: str, *errors: type[Exception]) -> Iterator[None]:
    """Translate what aio-pika raises, or the given errors, into ``BrokerUnreachable``.

    A lost connection may surface as a CancelledError although nobody cancelled the task. And aiormq
    may swallow a cancellation while it closes a channel. ``is_cancelled`` tells in both cases.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise _unreachable(url, error) from error
    except Exception as error:
        if isinstance(error, BridgeError) or not isinstance(error, errors or _ERRORS):
            raise
        if is_cancelled():
            raise asyncio.CancelledError from error
        raise _unreachable(url, error) from error
    if is_cancelled():
        raise asyncio.CancelledError


def _unreachable(url: str, error: BaseException) -> BrokerUnreachable:
    kind = NoRoom if _is_limit(error) else BrokerUnreachable
    return kind(f"{safe_url(url)}: {describe(error)}")


def _is_limit(error: BaseException) -> bool:
    """Return whether there would be too many channels or connections for RabbitMQ."""
    not_allowed = isinstance(error, ConnectionNotAllowed) or (
        isinstance(error, ConnectionClosed) and error.args[:1] == (_NOT_ALLOWED,)
    )
    return not_allowed and _LIMIT.search(str(error)) is not None


def ended_for_cause(channel: aiormq.Channel) -> bool:
    """Return whether a channel's connection ended because of what one side sent to the other."""
    closing = channel.closing
    cause = closing.exception() if closing.done() and not closing.cancelled() else None
    if isinstance(cause, ConnectionClosed):
        # aiormq has a class of its own for each reply code, but not for 320, its own stop.
        return type(cause) is not ConnectionClosed
    # An answer that cannot be read ends the connection on our side. All else is the network's.
    return isinstance(cause, Exception) and not isinstance(cause, OSError | MemoryError)


def describe(error: BaseException) -> str:
    """Return an error in words; some of these have an empty text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"
    if isinstance(error, AuthenticationError):
        return f"the broker offers {error.args[0]}: change [broker] auth, or {_ENABLE}"
    if isinstance(error, ProbableAuthenticationError) and "EXTERNAL" in str(error):
        return f"{error} {_NAMESAKE}"
    return tls.explain(error) or _words(error) or type(error).__name__


def _words(error: BaseException) -> str:
    """Return the text of an error: the broker's text if the broker gave one."""
    if isinstance(error, ConnectionClosed | ChannelClosed):
        return " ".join(str(part) for part in error.args if part)
    return _OBJECT.sub(r"\1", str(error))


def safe_url(url: str) -> str:
    """Return the URL without its password, and without its query, which is for libraries."""
    try:
        parsed = URL(url).with_query(None)
    except ValueError:
        return "a URL that cannot be used"
    return str(parsed.with_password("***") if parsed.password else parsed)
