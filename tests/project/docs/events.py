"""Events as the examples of the documents have them, on their way through the code."""

from __future__ import annotations

import json
from typing import Any

from bridge.core.event import Delivery, Event
from bridge.core.message import Message, event_message
from bridge.core.routing import Route, Router
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import Normalized, normalize
from bridge.superoffice.payload import parse

RECEIVED_NS = 1_772_442_927_500_000_000


def delivery(body: bytes, **changes: Any) -> Delivery:
    """Build a delivery to the endpoint ``superoffice``."""
    return Delivery(endpoint="superoffice", body=body, received_ns=RECEIVED_NS, **changes)


def normalized(**properties: Any) -> Normalized:
    """Return the normal form of a body."""
    body = json.dumps(properties).encode()
    return normalize(parse(body), delivery=delivery(body))


def event(name: str, **properties: Any) -> Event:
    """Return a normalized event of the record that the page's examples are about."""
    given = {"PrimaryKey": 4711, "ContextIdentifier": "Cust20001", **properties}
    return normalized(Event=name, **given)[0]


def published(event: Event, came: Delivery, *routes: Route) -> Message:
    """Return the message of an event; the default exchange is ``superoffice``."""
    target = Router(routes, exchange="superoffice").target(event)
    return event_message(event, delivery=came, target=target, source=source_uri(event.context))
