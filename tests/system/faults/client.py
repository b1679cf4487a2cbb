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
    """Connects when it must; whatever goes wrong, there is no reply and the next one connects."""

    def __init__(
        self, port: int, *, seconds: float = 30.0, tls: ssl.SSLContext | None = None
    ) -> None:
        """Take the port on this machine, and how long to wait for an answer."""
        self._port = port
        self._tls = tls
        self._seconds = seconds
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.failure: Exception | None = None
        """Why there was no answer to the latest request that had none."""

    async def send(self, request: bytes) -> Reply | None:
        """Send the bytes of a request and return the answer, None if there was none."""
        try:
            async with asyncio.timeout(self._seconds):
                reader, writer = await self._connected()
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()  # proxies write names so or so
                reply = Reply(int(head[9:12]), await reader.readexactly(_length(head)))
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError) as error:
            self.failure = error
            self.close()
            return None
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
        self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()  # the other side hung up while nothing was asked
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._tls)
        return self._streams


def _length(head: bytes) -> int:
    return int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0] or 0)
