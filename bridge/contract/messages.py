"""The examples of the documents: what the bridge makes of golden requests."""

from __future__ import annotations

from bridge.contract.deployment import Example
from bridge.core.event import Delivery
from bridge.core.message import Message, event_message
from bridge.core.routing import Router
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse


def published(example: Example) -> Message:
    """Return the message of a golden request, as it would be without routes."""
    delivery = Delivery("superoffice", example.body, example.received_ns)
    event = normalize(parse(example.body), delivery=delivery).event
    target = Router((), exchange="superoffice").target(event)
    return event_message(event, delivery=delivery, target=target, source=source_uri(event.context))
