"""Sending what is parked through the pipeline again; what is confirmed leaves the quarantine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aio_pika.abc import AbstractIncomingMessage

from bridge.cli.broker import properties
from bridge.core.errors import (
    BridgeError,
    BrokerUnreachable,
    ContextRefused,
    NotAccepted,
    PayloadInvalid,
)
from bridge.core.event import Delivery
from bridge.core.message import Message
from bridge.dedup import Dedup
from bridge.metrics import Metrics
from bridge.pipeline import Pipeline
from bridge.ports import Outcome, Sender
from bridge.publisher import Publisher
from bridge.service import pipeline_of, topology_of
from bridge.settings import Settings

_CONNECT_SECONDS = 10.0
_CONFIRM_SECONDS = 30.0
_POLL_SECONDS = 0.05

_ADDED = frozenset({"reason", "time", "original_exchange", "original_routing_key"})
"""Headers that parking puts on a finished message."""


class DirectOutbox:
    """An outbox without a disk: the broker confirms a message, or nobody takes it."""

    def __init__(self, sender: Sender, *, deadline: float) -> None:
        """Take the time in seconds that the broker has to confirm a message."""
        self._sender = sender
        self._deadline = deadline

    async def deliver(self, message: Message) -> Outcome:
        """Return what became of the message, ``UNKNOWN`` when the time is over."""
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        publish = self._sender.submit(message)
        publish.on_settled(lambda done: settled.set_result(done.outcome or Outcome.UNKNOWN))
        try:
            async with asyncio.timeout(self._deadline):
                return await settled
        except TimeoutError:
            publish.on_settled(None)
            return Outcome.UNKNOWN


class Replay:
    """The bridge's own way to the broker, without its HTTP side and without a spool."""

    def __init__(self, pipeline: Pipeline, outbox: DirectOutbox) -> None:
        self._pipeline = pipeline
        self._outbox = outbox

    async def send(self, message: AbstractIncomingMessage) -> str | None:
        """Send a parked message again; return why it stays parked, None when it was confirmed."""
        found = properties(message)
        try:
            if "original_exchange" in found["headers"]:
                await self._republish(found, message.body)
            else:
                await self._pipeline.replay(_delivery(found, message.body))
        except PayloadInvalid as invalid:
            return f"still unreadable: {invalid.reason}"
        except ContextRefused:
            return "its endpoint does not accept its ContextIdentifier"
        except NotAccepted as refused:
            return f"not confirmed: {refused.reason}"
        except BridgeError as error:
            return str(error)
        return None

    async def _republish(self, found: dict[str, object], body: bytes) -> None:
        outcome = await self._outbox.deliver(_finished(found, body))
        if not outcome.accepted:
            raise NotAccepted(outcome.value, str(found["message_id"]))


@asynccontextmanager
async def replaying(settings: Settings) -> AsyncIterator[Replay]:
    """Connect for the length of the block. Raises ``BrokerUnreachable``."""
    broker = settings.broker
    publisher = Publisher(broker.connection_urls(), topology_of(settings), mode=broker.topology)
    outbox = DirectOutbox(publisher, deadline=_CONFIRM_SECONDS)
    forgetful = Dedup(window=0, max_events=0, clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(publisher.run())
    try:
        await _connected(publisher, broker.safe_urls())
        yield Replay(pipeline_of(settings, outbox, forgetful, Metrics()), outbox)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _connected(publisher: Publisher, urls: tuple[str, ...]) -> None:
    for _ in range(int(_CONNECT_SECONDS / _POLL_SECONDS)):
        if publisher.is_up:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise BrokerUnreachable(f"{', '.join(urls)}: no answer in {_CONNECT_SECONDS:.0f} s")


def _delivery(found: dict[str, object], body: bytes) -> Delivery:
    headers = found["headers"]
    assert isinstance(headers, dict)  # noqa: S101  # see broker.properties
    retry = str(headers.get("retry", ""))
    trace = headers.get("traceparent")
    return Delivery(
        endpoint=str(headers.get("endpoint", "")),
        body=body,
        received_ns=int(str(found["timestamp"] or 0)) * 1_000_000_000,
        retry=int(retry) if retry.isdecimal() else None,
        traceparent=None if trace is None else str(trace),
    )


def _finished(found: dict[str, object], body: bytes) -> Message:
    headers = found["headers"]
    assert isinstance(headers, dict)  # noqa: S101  # see broker.properties
    return Message(
        exchange=str(headers["original_exchange"]),
        routing_key=str(headers["original_routing_key"]),
        body=body,
        content_type=str(found["content_type"]),
        message_id=str(found["message_id"]),
        type=str(found["type"]),
        timestamp=int(str(found["timestamp"] or 0)),
        headers={name: value for name, value in headers.items() if not _is_added(name)},
    )


def _is_added(name: str) -> bool:
    """Return whether a header came with the parking, or (``x-``) from RabbitMQ itself."""
    return name in _ADDED or name.startswith("x-")
