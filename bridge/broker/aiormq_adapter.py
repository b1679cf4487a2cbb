"""aio-pika's connection and aiormq's below it, where they do not do what the bridge needs.

- aiormq decodes the virtual host twice.
- It shows a connection that the broker rejects as the address of an object, without the reason.
- It tries the addresses of a host one after the other.
- It keeps its transport to itself, and the bridge has to write to it, to cut it, and to take
  confirms from it.
- It takes channel numbers beyond what was negotiated.

Private names of the libraries are used in this file alone: aiormq's ``Connection._rpc``, aio-pika's
``Connection._on_connected`` and ``_on_connection_close``.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, cast
from urllib.parse import unquote

import aio_pika
import aiormq
from aio_pika.abc import UnderlayConnection
from aio_pika.tools import OneShotCallback
from aiohappyeyeballs import start_connection
from aiormq.connection import FrameReceiver, TransportFactory
from aiormq.exceptions import ConnectionClosed, ProbableAuthenticationError
from pamqp import commands
from pamqp.base import Frame
from yarl import URL

from bridge.broker.tap import Tap

_NEXT_ADDRESS_SECONDS = 0.25
"""How long to wait for one address of a host until the next is tried beside it (RFC 8305)."""

_CHANNELS = 65_535
"""Maximum number of channels of a connection when the broker sets no limit."""

_ACCESS_REFUSED = 403
"""Reply code for a wrong user or password."""


class Amqp(aio_pika.Connection):
    """aio-pika's connection, on top of our variant of aiormq's."""

    async def connect(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # aio-pika's
        """Open the connection."""
        # What aio-pika's ``connect`` does, except for the class of the connection below.
        underlay = _Underlay(self.url, **self.kwargs)
        async with asyncio.timeout(timeout):
            await underlay.connect()
            await underlay.ready()
        closed = OneShotCallback(self._on_connection_close)
        underlay.closing.add_done_callback(closed)
        self.transport = UnderlayConnection(connection=underlay, close_callback=closed)
        await self._on_connected()


class _Underlay(aiormq.Connection):
    def __init__(self, url: URL, **options: Any) -> None:
        super().__init__(url, **options)
        # aiormq replaces ``%2F`` in ``url.path``, which yarl has decoded already.
        self.vhost = unquote(self.url.raw_path[1:]) or "/"

    @staticmethod
    async def _rpc(
        request: Frame,
        writer: asyncio.StreamWriter,
        frame_receiver: FrameReceiver,
        wait_response: bool = True,
    ) -> Any:
        # aiormq calls this for each step of opening a connection, and raises any answer that it did
        # not expect as an error without words.
        answers: Any = _Answers(frame_receiver)
        return await aiormq.Connection._rpc(request, writer, answers, wait_response)


class _Answers:
    """The broker's answers until a connection is open; raises its rejection, with the reason."""

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver

    async def get_frame(self) -> Any:
        received = await self._receiver.get_frame()
        frame = received[2]
        if isinstance(frame, commands.Connection.Close):
            if frame.reply_code == _ACCESS_REFUSED:
                raise ProbableAuthenticationError(frame.reply_text)
            raise ConnectionClosed(frame.reply_code, frame.reply_text)
        return received


class Transport(TransportFactory):
    """Makes the transport of a connection, plain or with TLS, and remembers it."""

    tap: Tap
    """Takes the confirms of the connection, once that is made."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the address of the host that answers first."""
        options: dict[str, Any] = {}
        if url.scheme == "amqps":
            context = await kwargs["ssl_context_provider"].get_context()
            options = {"ssl": context, "server_hostname": url.host}
        connected = await _connected(url.host or "", url.port or 0)
        stream, self._writer = await asyncio.open_connection(sock=connected, **options)
        reader, self.tap = tapped(stream, self._writer)
        return cast(asyncio.StreamReader, reader), self._writer

    def write(self, data: bytes) -> None:
        """Write at once; drop the data if the transport is gone."""
        if self._writer is None or self._writer.is_closing():
            return
        try:
            self._writer.write(data)
        except BaseException:  # part of a frame may be on the wire, and nothing fits behind it
            self.abort()
            raise

    def abort(self) -> None:
        """Cut the connection."""
        if self._writer is not None:
            self._writer.transport.abort()


def tapped(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[TappedReader, Tap]:
    """Put a tap in front of the protocol of a stream; return what aiormq reads from now on."""
    protocol = cast(asyncio.Protocol, writer.transport.get_protocol())
    clock = asyncio.get_running_loop().time
    # Any error will do, though typeshed knows only of ``Exception``.
    fail = cast(Callable[[BaseException], None], stream.set_exception)
    tap = Tap(protocol, clock=clock, fail=fail)
    writer.transport.set_protocol(cast(asyncio.Protocol, tap))
    return TappedReader(stream, tap), tap


class TappedReader:
    """What aiormq reads: a stream, and the word for the tap when a frame is waited for."""

    def __init__(self, stream: asyncio.StreamReader, tap: Tap) -> None:
        self._stream = stream
        self._tap = tap
        self._is_frame_next = False

    def at_eof(self) -> bool:
        """Return whether nothing more comes; aiormq asks before each frame, and only then."""
        self._is_frame_next = True
        return self._stream.at_eof()

    def readexactly(self, count: int) -> Awaitable[bytes]:
        """Return so many octets."""
        if not self._is_frame_next:
            return self._stream.readexactly(count)
        self._is_frame_next = False
        return self._begin(count)

    async def _begin(self, count: int) -> bytes:
        # This waits only if the stream holds nothing, and whatever comes to it ends the wait.
        self._tap.is_between_frames = True
        try:
            return await self._stream.readexactly(count)
        finally:
            self._tap.is_between_frames = False


async def _connected(host: str, port: int) -> socket.socket:
    """Return a socket that is connected to one of the addresses of a host."""
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # An address may accept and never say a word. In any other order it would be the first for ever.
    random.shuffle(addresses)
    # ``loop.create_connection`` has ``happy_eyeballs_delay`` for this, but not with uvloop.
    return await start_connection(
        addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1
    )


def free_channel(connection: aiormq.abc.AbstractConnection) -> int | None:
    """Return the lowest number without a channel; None if the broker allows no more channels.

    aiormq would count up beyond what was negotiated, and RabbitMQ would close the connection.
    """
    most = connection.connection_tune.channel_max or _CHANNELS
    number = next(number for number in count(1) if number not in connection.channels)
    return number if number <= most else None
