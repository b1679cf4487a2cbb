"""RabbitMQ alone: finished frames on one raw channel, 256 unconfirmed at a time.

    python -m bench.flood URL SECONDS EVENTS

Prints what was confirmed as JSON. Nothing that speaks AMQP to this broker from one channel can be
faster, whatever it is written in.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import cast

import uvloop
from pamqp import commands

from bench.amqp import CHANNEL, RawChannel
from bench.parity import our_message
from bench.pool import Bodies
from bridge.broker.frames import publish_frames

WINDOW = 256
FRAME_MAX = 131_072  # RabbitMQ's own
_ACK = bytes((0, 60, 0, 80))  # class basic, method ack
_PREFIX = struct.Struct(">BHI")
_CONFIRM = struct.Struct(">4sQ?")


@dataclass
class Flood(asyncio.Protocol):
    """Publishes one message for each that is confirmed, until ``stop``."""

    frames: Sequence[bytes]
    confirmed: int = 0
    sent: int = 0
    stopping: bool = False
    _open: set[int] = field(default_factory=set)
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Fill the window."""
        self._transport = cast(asyncio.Transport, transport)
        self._source = cycle(self.frames)
        self._publish(WINDOW)

    def data_received(self, data: bytes) -> None:
        """Take confirms and publish as many."""
        data = self._rest + data
        at, before = 0, self.confirmed
        while at + _PREFIX.size < len(data):
            size = _PREFIX.unpack_from(data, at)[2]
            if at + _PREFIX.size + size >= len(data):
                break
            self._confirm(*_CONFIRM.unpack_from(data, at + _PREFIX.size))
            at += _PREFIX.size + size + 1
        self._rest = data[at:]
        if not self.stopping:
            self._publish(self.confirmed - before)

    def _confirm(self, method: bytes, tag: int, multiple: bool) -> None:
        if method != _ACK:
            raise ConnectionError(f"not an ack: {method!r}")
        settled = {each for each in self._open if each <= tag} if multiple else {tag}
        self._open -= settled
        self.confirmed += len(settled)

    def _publish(self, count: int) -> None:
        self._open.update(range(self.sent + 1, self.sent + count + 1))
        self.sent += count
        self._transport.writelines([next(self._source) for _ in range(count)])


def frames(events: int) -> list[bytes]:
    """Return the bytes of the bridge's messages for the first events of the pool."""
    bodies = Bodies()
    messages = (our_message(bodies(number)) for number in range(events))
    return [publish_frames(each, channel=CHANNEL, frame_max=FRAME_MAX) for each in messages]


async def flood(url: str, seconds: float, events: int) -> dict[str, float]:
    """Publish for so long; a first second, which does not count, warms up."""
    ready = frames(events)
    channel = RawChannel(url)
    channel.call(commands.Confirm.Select())
    channel.socket.setblocking(False)
    loop = asyncio.get_running_loop()
    _, publisher = await loop.create_connection(lambda: Flood(ready), sock=channel.socket)
    await asyncio.sleep(1)
    before, begun = publisher.confirmed, time.monotonic()
    await asyncio.sleep(seconds)
    requests, elapsed = publisher.confirmed - before, time.monotonic() - begun
    publisher.stopping = True
    await asyncio.sleep(0.5)
    return {
        "requests": requests,
        "seconds": elapsed,
        "rate": requests / elapsed,
        "accepted": publisher.confirmed,
        "sent": publisher.sent,
    }


if __name__ == "__main__":
    found = uvloop.run(flood(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
    print(json.dumps(found))
