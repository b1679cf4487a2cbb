"""The messages that leave the bridge, complete but not yet on the wire.

An event becomes a CloudEvent 1.0 in structured mode (https://github.com/cloudevents/spec,
``cloudevents/formats/json-format.md``); a delivery that
cannot be read is parked as it came; a message that no queue is bound for is copied to
``superoffice.unrouted``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, final
from urllib.parse import quote

import orjson

from bridge.core.event import Delivery, Event, Record
from bridge.core.routing import Target, encode

PARKED = "superoffice.parked"
"""Exchange and queue for deliveries that cannot be read and messages that cannot be delivered."""

UNROUTED = "superoffice.unrouted"
"""Exchange and queue for messages that no queue was bound for."""

PARKED_TYPE = "com.superoffice.parked"
"""Type of a message that is parked before it has become an event."""

MAX_ID_BYTES = 200
"""Maximum size of a message's id. AMQP would carry 255."""

CLOUDEVENTS_JSON = "application/cloudevents+json"

SCHEMAS = "urn:superoffice-bridge:"
"""Start of every ``dataschema``; the entity and ``SCHEMA_VERSION`` follow."""

SCHEMA_VERSION = 1
"""Version of ``data``, raised when the meaning of a member changes: docs/contract/README.md."""

Headers = dict[str, str | int]

MAX_HEADER_BYTES = 255
"""Maximum size of a header that is copied from the event. The body has its value in full."""

_INT64 = range(-(2**63), 2**63)

# https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#type-system, String
_NONCHARACTERS = "".join(chr(last - 1) + chr(last) for last in range(0xFFFF, 0x110000, 0x10000))
_FORBIDDEN = re.compile(rf"[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_NONCHARACTERS}]+")


@final
class Message:
    """One AMQP message and where it goes. It is always persistent and mandatory.

    ``timestamp`` is whole seconds since the Unix epoch. The messages of one ``record`` keep their
    order: each is published when the one before it is settled.
    """

    __slots__ = (
        "body", "content_type", "exchange", "headers", "message_id", "record", "routing_key",
        "timestamp", "type",
    )  # fmt: skip

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        content_type: str,
        message_id: str,
        type: str,
        timestamp: int,
        headers: Headers,
        record: Record | None = None,
    ) -> None:
        self.exchange: Final = exchange
        self.routing_key: Final = routing_key
        self.body: Final = body
        self.content_type: Final = content_type
        self.message_id: Final = message_id
        self.type: Final = type
        self.timestamp: Final = timestamp
        self.headers: Final = headers
        self.record: Final = record

    def __eq__(self, other: object) -> bool:
        """Return whether every part is equal."""
        return isinstance(other, Message) and self._parts() == other._parts()

    def __repr__(self) -> str:
        """Show what it is and where it goes, and nothing of the body."""
        return f"<Message {self.message_id} {self.type} to {self.exchange} {self.routing_key}>"

    def changed(
        self, *, headers: Headers, exchange: str | None = None, routing_key: str | None = None
    ) -> Message:
        """Return a copy with these headers, and with another exchange or key if one is given."""
        return Message(
            self.exchange if exchange is None else exchange,
            self.routing_key if routing_key is None else routing_key,
            self.body,
            self.content_type,
            self.message_id,
            self.type,
            self.timestamp,
            headers,
            self.record,
        )

    def _parts(self) -> tuple[object, ...]:
        return (
            self.exchange,
            self.routing_key,
            self.body,
            self.content_type,
            self.message_id,
            self.type,
            self.timestamp,
            self.headers,
            self.record,
        )


def event_message(event: Event, *, delivery: Delivery, target: Target, source: str) -> Message:
    """Build the message of a normalized event; ``source`` is the CloudEvents source."""
    return Message(
        exchange=target.exchange,
        routing_key=target.routing_key,
        body=delivery.body if target.raw else cloudevent(event, source=source),
        content_type="application/json" if target.raw else CLOUDEVENTS_JSON,
        message_id=event.id,
        type=event.type,
        timestamp=delivery.received_ns // 1_000_000_000,
        headers=event_headers(event, delivery),
        record=event.record,
    )


def cloudevent(event: Event, *, source: str) -> bytes:
    """Return the CloudEvent as JSON.

    ``subject`` is left out when there is no primary key, ``eventid`` when there is no EventId. All
    attributes are visible ASCII, which CloudEvents allows in any protocol.
    """
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": source,
        "type": event.type,
    }
    entity = encode(event.entity)
    key = event.primary_key
    if key is not None:
        # The digits of a number need no quoting, and almost every key is one.
        envelope["subject"] = f"{entity}/{key if type(key) is int else quote(str(key), safe='')}"
    envelope["time"] = event.time
    envelope["datacontenttype"] = "application/json"
    envelope["dataschema"] = f"{SCHEMAS}{entity}:{SCHEMA_VERSION}"
    if event.event_id is not None:
        envelope["eventid"] = event.event_id
    envelope["data"] = event.data
    return orjson.dumps(envelope)


def event_headers(event: Event, delivery: Delivery) -> Headers:
    """Return the AMQP headers; absent values have no header, and int means AMQP int64."""
    headers: dict[str, str | int] = {
        "entity": bounded(event.entity),
        "action": bounded(event.action),
        "endpoint": event.endpoint,
    }
    if event.context is not None:
        headers["context"] = bounded(event.context)
    key = event.primary_key
    if key is not None:
        is_int64 = isinstance(key, int) and key in _INT64
        headers["primary_key"] = key if is_int64 else bounded(str(key))
    if delivery.retry is not None:
        headers["retry"] = str(delivery.retry)
    if delivery.traceparent is not None:
        headers["traceparent"] = delivery.traceparent
    return headers


def parked_message(delivery: Delivery, *, reason: str, time: str) -> Message:
    """Build the message that keeps a delivery which cannot be read: its raw bytes, and why."""
    headers: dict[str, str | int] = {"reason": reason, "endpoint": delivery.endpoint, "time": time}
    if delivery.retry is not None:
        headers["retry"] = str(delivery.retry)
    if delivery.traceparent is not None:
        headers["traceparent"] = delivery.traceparent
    return Message(
        exchange=PARKED,
        routing_key=reason,
        body=delivery.body,
        content_type="application/octet-stream",
        message_id=body_id(delivery.body),
        type=PARKED_TYPE,
        timestamp=delivery.received_ns // 1_000_000_000,
        headers=headers,
    )


def unrouted_message(message: Message) -> Message:
    """Build the copy of a returned message that goes to ``superoffice.unrouted``."""
    headers = {**message.headers, **_origin(message)}
    return message.changed(exchange=UNROUTED, headers=headers)


def refused_message(message: Message, *, reason: str, time: str) -> Message:
    """Build the copy of a message that cannot be delivered, for ``superoffice.parked``."""
    headers = {**message.headers, "reason": reason, "time": time, **_origin(message)}
    return message.changed(exchange=PARKED, routing_key=reason, headers=headers)


def _origin(message: Message) -> Headers:
    return {"original_exchange": message.exchange, "original_routing_key": message.routing_key}


def bounded(text: str) -> str:
    """Return the text if it has at most 255 bytes, else its start, ``~`` and a hash of all of it.

    A header frame cannot be split, so a value that may be as long as a body must be cut. The
    characters that CloudEvents forbids are percent-encoded: some clients fail on a zero.
    """
    if not text.isprintable():
        text = _FORBIDDEN.sub(lambda match: quote(match[0], safe=""), text)
    if len(text) * 4 <= MAX_HEADER_BYTES or len(data := text.encode()) <= MAX_HEADER_BYTES:
        return text
    digest = hashlib.sha256(data).hexdigest()
    return f"{data[:200].decode(errors='ignore')}~{digest[:16]}"


def body_id(body: bytes) -> str:
    """Return the name of a delivery that has no id of its own: the hash of its body."""
    return f"sha256-{hashlib.sha256(body).hexdigest()}"
