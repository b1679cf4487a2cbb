"""Public listeners without sockets: bytes go in, bytes come out, and nobody waits for a clock."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any

from bridge import exposition
from bridge.core.message import Message
from bridge.core.publish import Outcome
from bridge.core.routing import Router
from bridge.delivery.dedup import Dedup
from bridge.metrics import Metrics
from bridge.pipeline import Endpoint, Pipeline
from bridge.superoffice.headers import SIGNATURE
from bridge.web.connection import Connection
from bridge.web.heads import Heads
from bridge.web.plain import Plain
from bridge.web.receiver import Receiver
from bridge.web.responder import Responder
from bridge.web.server import HttpServer, Limits
from bridge.web.throttle import Failures
from tests.serving import SECRET, sign, webhook

PATHS = {"/webhook": "superoffice", "/open": "open", "/a b": "spaced"}
MAX_BODY = 3000
READ_SECONDS = 5.0
_TURNS = 12
"""Turns of the loop after which nothing is left to do for a request that is there."""


class Transport(asyncio.Transport):
    """Keeps what is written, and what comes while nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None
        self.reads = True
        self.unread: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        """Keep what is sent."""
        assert not self.closed
        self.written += bytes(data)

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return self.closed

    def close(self) -> None:
        """End the connection in a moment, as a real one does."""
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        """Deliver nothing more."""
        self.reads = False

    def resume_reading(self) -> None:
        """Deliver again what comes."""
        self.reads = True

    def feed(self, data: bytes) -> None:
        """Let some bytes come."""
        self.unread.append(data)
        self.deliver()

    def deliver(self) -> None:
        """Deliver what has come, while somebody reads."""
        while self.unread and self.reads and not self.closed:
            self.protocol.data_received(self.unread.pop(0))


class Memory:
    """An outbox that keeps messages, and calls back at once or when told to."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.outcomes: list[Outcome] = []
        """What the next messages become; the rest are confirmed."""
        self.is_slow = False
        self._waiting: list[tuple[Callable[[Outcome], None], Outcome]] = []

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        """Keep a message."""
        self.messages.append(message)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome.CONFIRMED
        if self.is_slow:
            self._waiting.append((settled, outcome))
        else:
            settled(outcome)

    def settle_all(self) -> None:
        """Call back about each message that waits."""
        waiting, self._waiting = self._waiting, []
        for settled, outcome in waiting:
            settled(outcome)


class Site:
    """A public listener with one way or with both; everything behind it is in memory."""

    def __init__(
        self,
        *,
        plain: bool = True,
        failures: int = 0,
        max_body: int = MAX_BODY,
        read_seconds: float = READ_SECONDS,
        idle_seconds: float = 60.0,
    ) -> None:
        self.outbox, self.metrics = Memory(), Metrics()
        endpoints = {
            "superoffice": Endpoint("superoffice", [SECRET]),
            "open": Endpoint("open", [], allow_unsigned=True, contexts=frozenset({"Cust20001"})),
            "spaced": Endpoint("spaced", [SECRET]),
        }
        self.pipeline = Pipeline(
            endpoints,
            router=Router((), exchange="superoffice"),
            outbox=self.outbox,
            dedup=Dedup(window=600, max_events=100, clock=lambda: 0.0),
            metrics=self.metrics,
        )
        limit = Failures(limit=failures, window=60.0, clock=lambda: 0.0)
        responder = Responder(self.pipeline, self.metrics, failures=limit)
        receiver = Receiver(
            PATHS, responder, self.metrics, max_body=max_body, read_timeout=read_seconds
        )
        heads = Heads(PATHS, max_body=max_body)
        self.server = HttpServer(
            receiver.handle,
            max_body=max_body,
            limits=Limits(100, head=read_seconds, idle=idle_seconds),
            plain=Plain(heads, responder) if plain else None,
        )

    async def connect(self) -> Wire:
        """Open a connection."""
        wire = Wire(self.server(), Transport())
        await settled()
        return wire

    async def proven(self) -> Wire:
        """Open a connection and earn a 200 on it."""
        wire = await self.connect()
        answer = await wire.send(request(webhook(EventId="first")))
        assert answer.startswith(b"HTTP/1.1 200 ")
        return wire

    @property
    def plain_requests(self) -> int:
        """Return how many requests took the plain path."""
        return sum(self.metrics.received_plain.labels(name).value for name in PATHS.values())

    @property
    def counts(self) -> list[str]:
        """Return what was counted of requests, but for the way that they took."""
        return sorted(
            line
            for line in exposition.render(self.metrics).decode().splitlines()
            if re.match(r"superoffice_bridge_\w+_total", line) and "received_plain" not in line
        )


class Wire:
    """One connection."""

    def __init__(self, connection: Connection, transport: Transport) -> None:
        self.connection, self.transport = connection, transport
        transport.protocol = connection
        connection.connection_made(transport)

    async def send(self, *pieces: bytes) -> bytes:
        """Send pieces, each in a turn of its own; return what was answered."""
        before = len(self.transport.written)
        for piece in pieces:
            self.transport.feed(piece)
            await self.settled()
        return self.transport.written[before:]

    async def settled(self) -> None:
        """Wait until what was sent is answered, as far as that needs no clock."""
        for _ in range(3):
            await settled()
            self.transport.deliver()

    async def hang_up(self) -> None:
        """End the connection, as a client does that has gone."""
        self.transport.closed = True
        self.connection.connection_lost(None)
        await settled()


def request(
    body: bytes, *fields: str, path: str = "/webhook", signature: str | None = None
) -> bytes:
    """Build a signed POST; the fields are whole lines."""
    signed = sign(body) if signature is None else signature
    lines = [f"POST {path} HTTP/1.1", "Host: bridge", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, f"{SIGNATURE}: {signed}", *fields, "", ""]).encode() + body


async def settled() -> None:
    """Let the loop turn until it has nothing more to do."""
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def dateless(answers: bytes) -> bytes:
    """Return answers without what differs from second to second."""
    return re.sub(rb"\r\nDate: [^\r]+", b"", answers)


def shown(messages: Iterable[Message]) -> list[tuple[object, ...]]:
    """Return all that consumers see of messages."""
    return [
        (
            *(each.exchange, each.routing_key, each.message_id, each.type, each.content_type),
            *(each.timestamp, dict(each.headers), each.body, each.record),
        )
        for each in messages
    ]
