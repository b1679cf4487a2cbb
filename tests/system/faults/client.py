"""One keep-alive HTTP/1.1 connection on a raw socket, one request at a time."""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple


class Reply(NamedTuple):
    """An HTTP answer."""

    status: int
    body: bytes


class Connection:
    """Connects when it must; whatever goes wrong, there is no reply and the next one connects.

    ``raced`` counts requests that were sent again. That happens at once, where a connection that
    was used before has ended without a byte of an answer: the other side may have closed it while
    the request was on its way, and has not read it then (RFC 9112, 9.3.1).
    """

    def __init__(
        self,
        port: int,
        *,
        seconds: float = 30.0,
        tls: ssl.SSLContext | None = None,
        races: bool = False,
    ) -> None:
        """Take the port on this machine, how long to wait for an answer, whether to send again."""
        self._races = races
        self.raced = 0
        self._port = port
        self._tls = tls
        self._seconds = seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = False
        """Whether the present connection has had an answer."""
        self.failure: Exception | None = None
        """Why there was no answer to the latest request that had none."""

    async def send(self, request: bytes) -> Reply | None:
        """Send the bytes of a request and return the answer, None if there was none."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._ask(request)
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            self.failure = error
            self.close()
            return None

    async def _ask(self, request: bytes) -> Reply:
        reader, writer = await self._connected()
        writer.write(request)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()  # proxies write names so or so
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            if not self._races or not self._used or _has_begun(error):
                raise
            self.raced += 1
            self.close()
            return await self._ask(request)
        reply = Reply(int(head[9:12]), await reader.readexactly(_length(head)))
        self._used = True
        if b"\r\nconnection: close\r\n" in head:
            self.close()
        return reply

    async def get(self, path: str) -> Reply | None:
        """Return the answer to a GET."""
        return await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        self._streams, self._used = None, False

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the other side hung up while nothing was asked
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        return self._streams


def _length(head: bytes) -> int:
    return int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)


def _has_begun(error: Exception) -> bool:
    """Return whether a part of the answer came before the end."""
    return isinstance(error, asyncio.IncompleteReadError) and bool(error.partial)
