"""A broker that always does the same: it declares whatever it is asked to, and confirms when told.

RabbitMQ acknowledges one, two or twenty publishes with a frame, as it happens to come. Where the
cost of an event is counted, that would be noise.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from pamqp import commands, frame
from pamqp.header import ProtocolHeader

ROUND = 32
"""So many publishes are confirmed together."""

AN_ACK_FOR = 3
"""Publishes: what RabbitMQ was seen to do at this many under way."""

FRAME_MAX = 131_072
_HEAD = struct.Struct(">BHI")
_METHOD, _BODY = 1, 3
_PUBLISH = commands.Basic.Publish.index.to_bytes(4, "big")
_PROTOCOL = len(ProtocolHeader().marshal())
_CAPABILITIES: dict[str, Any] = {
    "publisher_confirms": True,
    "basic.nack": True,
    "exchange_exchange_bindings": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Broker(asyncio.Protocol):
    """One connection; bodies have one frame each.

    When a round of publishes has come, ``rounds`` gets what confirms it.
    """

    def __init__(self, rounds: asyncio.Queue[Callable[[], None]]) -> None:
        self._rounds = rounds
        self._received = b""
        self._greeted = False
        self._published = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer methods, and count bodies."""
        self._received += data
        if not self._greeted and len(self._received) >= _PROTOCOL:
            self._greeted, self._received = True, self._received[_PROTOCOL:]
            self._send(0, commands.Connection.Start(0, 9, {"capabilities": _CAPABILITIES}))
        while (size := _whole(self._received)) is not None:
            taken, self._received = self._received[:size], self._received[size:]
            self._take(taken)

    def _take(self, taken: bytes) -> None:
        kind, channel, _ = _HEAD.unpack_from(taken)
        if kind == _BODY:
            self._published += 1
            if self._published % ROUND == 0:
                self._rounds.put_nowait(partial(self._confirm, channel, self._published))
        elif kind == _METHOD and taken[_HEAD.size :][:4] != _PUBLISH:
            self._answer(channel, frame.unmarshal(taken)[2])

    def _confirm(self, channel: int, last: int) -> None:
        tags = [*range(last - ROUND + AN_ACK_FOR, last, AN_ACK_FOR), last]
        self._send(channel, *(commands.Basic.Ack(tag, multiple=True) for tag in tags))

    def _answer(self, channel: int, method: Any) -> None:
        if isinstance(method, commands.Connection.StartOk):
            self._send(channel, commands.Connection.Tune(2047, FRAME_MAX, 0))
        elif isinstance(method, commands.Queue.Declare):
            self._send(channel, commands.Queue.DeclareOk(method.queue, 0, 0))
        elif method.synchronous:
            kind, _, answer = method.valid_responses[0].partition(".")
            self._send(channel, getattr(getattr(commands, kind), answer)())

    def _send(self, channel: int, *methods: Any) -> None:
        assert self._transport is not None  # noqa: S101  # something was received
        self._transport.write(b"".join(frame.marshal(each, channel) for each in methods))


def _whole(received: bytes) -> int | None:
    """Return the size of the frame at the beginning, if it is all there."""
    with suppress(struct.error):
        size = _HEAD.size + int(_HEAD.unpack_from(received)[2]) + 1
        return size if len(received) >= size else None
    return None
