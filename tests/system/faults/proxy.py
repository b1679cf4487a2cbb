"""Stands between the bridge and the broker, and does what networks do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from types import TracebackType

from tests.system.faults.altering import Altering

_AT_ONCE = 65536
"""Bytes."""


_METHOD = struct.pack("!HHHB", 10, 50, 541, 6) + b"poison" + struct.pack("!HH", 60, 40)
_CLOSE = struct.pack("!BHI", 1, 0, len(_METHOD)) + _METHOD + b"\xce"
"""The frame of ``Connection.Close``: internal error."""


class Proxy:
    """Forwards every connection to a port on this machine, ``target``, which may change."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._server: asyncio.Server | None = None
        self._passing = asyncio.Event()
        self._passing.set()
        self._ration: float = math.inf
        self._rationed = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self.poison = b""
        """What closes a connection (AMQP 541), in the broker's name, when somebody sends it."""
        self.poisoned = 0
        self.alters = False
        """Whether messages that come back are changed."""
        self.altered = 0

    async def __aenter__(self) -> Proxy:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Cut everything."""
        assert self._server is not None
        self._server.close()
        self.restore()
        self.reset()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        """Return the AMQP URL of the broker behind the proxy."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def port(self) -> int:
        """Return where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def reset(self) -> None:
        """End every connection, on both sides, with a TCP reset."""
        for writer in self._writers:
            if not writer.transport.is_closing():  # else there may be no socket any more
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def swallow(self) -> None:
        """Let nothing through any more, and tell nobody: a black hole."""
        self._passing.clear()

    def ration(self, size: int) -> None:
        """Let so many more bytes through to the broker, about, and all that it answers to them."""
        self._ration = size
        self._rationed.set()

    def restore(self) -> None:
        """Let everything through again."""
        self._passing.set()
        self._ration = math.inf
        self._rationed.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            await self._passing.wait()
            theirs, ours = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(ours)
            pumps = self._pump(reader, ours, back=writer), self._pump(theirs, writer)
            await asyncio.gather(*pumps)
            self._writers.discard(ours)
        self._writers.discard(writer)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        back: asyncio.StreamWriter | None = None,
    ) -> None:
        """Pass on what is read; ``back`` leads to who wrote it, if that is not the broker."""
        altering = Altering()
        with contextlib.suppress(OSError):
            while data := await reader.read(_AT_ONCE):
                await self._passing.wait()
                if back is not None and self.poison and self.poison in data:
                    self.poisoned += 1
                    back.write(_CLOSE)
                    break
                if back is not None:
                    await self._take_ration(len(data))
                elif self.alters:
                    data = altering.feed(data)
                    self.altered += altering.count()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _take_ration(self, size: int) -> None:
        while self._ration <= 0:
            self._rationed.clear()
            await self._rationed.wait()
        self._ration -= size
