"""A consumer that drains the queue while something is measured, at little cost.

It acknowledges nothing (``no_ack``) and parses nothing: it looks for the message-id property of
the pool's events in the stream of bytes and counts them by their place in the pool.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import cast

from pamqp import commands

from bench.amqp import RawChannel, declare
from bench.pool import ID_PREFIX, event_id
from bridge.superoffice.identity import KEY_BYTES

QUEUE = "bench"
# The length of a short string (AMQP 0-9-1, section 4.2.5.3) comes before it: in the property, that
# is, which is the EventId as peers publish it, or the bridge's id. In the body it is a quotation
# mark.
_LENGTHS = bytes((len(event_id(0)), len(event_id(0)) + len(".") + 2 * KEY_BYTES))
_MARK = re.compile(b"[%b]%b" % (re.escape(_LENGTHS), re.escape(ID_PREFIX.encode())))
_A_MARK = _LENGTHS[:1] + ID_PREFIX.encode()
_DIGITS = 12
_OVERLAP = len(_A_MARK) + _DIGITS - 1


class Consumer(asyncio.Protocol):
    """Counts deliveries: ``total``, and ``counts`` by place in the pool."""

    def __init__(self, events: int) -> None:
        self.counts = [0] * events
        self.total = 0
        self.first_at = 0.0
        self.last_at = 0.0
        self.lost: Exception | None = None
        self._tail = b""
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def start(cls, url: str, events: int) -> Consumer:
        """Declare the queue, empty it and consume; ``events`` is the size of the pool."""
        channel = await asyncio.to_thread(_consuming, url)
        channel.socket.setblocking(False)
        loop = asyncio.get_running_loop()
        _, consumer = await loop.create_connection(lambda: cls(events), sock=channel.socket)
        return consumer

    def data_received(self, data: bytes) -> None:
        """Count the ids in these bytes; one that is cut in two is found with the next bytes."""
        data = self._tail + data
        first, *found = _MARK.split(data)
        if found and len(found[-1]) < _DIGITS:
            self._tail = _A_MARK + found.pop()
        else:
            self._tail = (found[-1][_DIGITS:] if found else first)[-_OVERLAP:]
        if found:
            self._count(found)

    def connection_lost(self, error: Exception | None) -> None:
        """Remember that nothing more will come."""
        self.lost = error or ConnectionError("RabbitMQ hung up")

    async def until(self, total: int, *, seconds: float, quiet: float = 0.3) -> None:
        """Wait for so many deliveries, then until nothing more comes; give up after a while."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            silent = time.monotonic() - self.last_at
            if self.total >= total and silent >= quiet:
                return
            await asyncio.sleep(0.02)

    def stop(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is not a subclass

    def _count(self, found: list[bytes]) -> None:
        counts = self.counts
        for each in found:
            counts[int(each[:_DIGITS], 16)] += 1
        self.total += len(found)
        self.last_at = time.monotonic()
        self.first_at = self.first_at or self.last_at


def _consuming(url: str) -> RawChannel:
    channel = RawChannel(url)
    declare(channel, QUEUE)
    channel.call(commands.Basic.Consume(0, QUEUE, no_ack=True))
    return channel
