"""Parked messages, sent through the pipeline again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from aio_pika.abc import AbstractIncomingMessage

from bridge.aio import called_back
from bridge.cli.clients.bare_pipeline import DirectOutbox, open_bare_pipeline
from bridge.cli.messages import properties
from bridge.core.errors import BridgeError, PayloadInvalid, Rejected
from bridge.core.event import Delivery
from bridge.core.message import Message
from bridge.core.reasons import RejectReason
from bridge.pipeline import Acceptor
from bridge.settings import Settings

_ADDED = frozenset({"reason", "time", "original_exchange", "original_routing_key"})
"""Headers that parking adds to a message which was ready to be published."""


class Replay:
    """Publishes parked messages again."""

    def __init__(self, pipeline: Acceptor, outbox: DirectOutbox) -> None:
        self._pipeline = pipeline
        self._outbox = outbox

    async def send(self, message: AbstractIncomingMessage) -> str | None:
        """Send a message again; return why it has to stay parked, or None when it was confirmed."""
        found = properties(message)
        try:
            if "original_exchange" in found["headers"]:
                await self._republish(found, message.body)
            else:
                delivery = _delivery(found, message.body)
                await called_back(partial(self._pipeline.replay, delivery))
        except PayloadInvalid as invalid:
            return f"still unreadable: {invalid.reason}"
        except Rejected as rejected:
            if rejected.reason == RejectReason.CONTEXT:
                return "its endpoint does not accept its ContextIdentifier"
            return f"not confirmed: {rejected.reason}"
        except BridgeError as error:
            return str(error)
        return None

    async def _republish(self, found: dict[str, object], body: bytes) -> None:
        outcome = await called_back(partial(self._outbox.deliver, _message(found, body)))
        if not outcome.is_with_broker:
            raise Rejected(outcome.value, str(found["message_id"]))


@asynccontextmanager
async def open_replay(settings: Settings) -> AsyncIterator[Replay]:
    """Connect to the broker for the length of the block; raises ``BrokerUnreachable``."""
    async with open_bare_pipeline(settings) as (pipeline, outbox, _):
        yield Replay(pipeline, outbox)


def _delivery(found: dict[str, object], body: bytes) -> Delivery:
    headers = found["headers"]
    assert isinstance(headers, dict)  # noqa: S101  # see messages.properties
    retry = str(headers.get("retry", ""))
    trace = headers.get("traceparent")
    return Delivery(
        endpoint=str(headers.get("endpoint", "")),
        body=body,
        received_ns=int(str(found["timestamp"] or 0)) * 1_000_000_000,
        retry=int(retry) if retry.isdecimal() else None,
        traceparent=None if trace is None else str(trace),
    )


def _message(found: dict[str, object], body: bytes) -> Message:
    headers = found["headers"]
    assert isinstance(headers, dict)  # noqa: S101  # see messages.properties
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
    """Return whether parking added a header, or RabbitMQ did (``x-``)."""
    return name in _ADDED or name.startswith("x-")
