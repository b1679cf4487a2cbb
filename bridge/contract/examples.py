"""The examples in the documents: golden requests, and the messages they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bridge.core.event import Delivery
from bridge.core.message import Message, event_message
from bridge.core.routing import Router
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A golden request: the bytes of a webhook, and when they were received."""

    body: bytes
    received_ns: int


Examples = Mapping[str, Example]
"""Golden requests by the name of their event, such as ``contact.created``."""


def published(example: Example) -> Message:
    """Return the message that the bridge makes of a golden request without routes."""
    delivery = Delivery("superoffice", example.body, example.received_ns)
    event, _ = normalize(parse(example.body), delivery=delivery)
    target = Router((), exchange="superoffice").target(event)
    return event_message(event, delivery=delivery, target=target, source=source_uri(event.context))
