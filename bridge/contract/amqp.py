"""The parts of a message beside its body: properties, headers, and its exchange."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge.contract.kinds import Schema
from bridge.core.message import CLOUDEVENTS_JSON, MAX_HEADER_BYTES, MAX_ID_BYTES
from bridge.core.reasons import Undelivered, Unreadable
from bridge.core.routing import MAX_KEY_BYTES

BINDING: Final = "0.3.0"
"""The version of AsyncAPI's AMQP bindings: https://github.com/asyncapi/bindings/tree/master/amqp"""

RAW_JSON: Final = "application/json"
UNREADABLE: Final = "application/octet-stream"

_NO_CONTROLS: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"

_TEXT: Final = {"type": "string", "maxLength": MAX_HEADER_BYTES, "pattern": _NO_CONTROLS}

_EVENT: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "entity": {"description": "As in `data`.", **_TEXT},
        "action": {"description": "As in `data`.", **_TEXT},
        "endpoint": {
            "description": "The endpoint that received the event.",
            "type": "string",
            "pattern": "^[a-z0-9][a-z0-9_-]*$",
        },
        "context": {"description": "`context_identifier` of `data`, if there is one.", **_TEXT},
        "primary_key": {
            "description": "As in `data`, if there is one: 64 bits, or text.",
            "type": ["integer", "string"],
            "minimum": -(2**63),
            "maximum": 2**63 - 1,
            "maxLength": MAX_HEADER_BYTES,
            "pattern": _NO_CONTROLS,
        },
        "retry": {
            "description": "Earlier attempts of SuperOffice, if it says so.",
            "type": "string",
            "pattern": "^(0|[1-9][0-9]{0,4})$",
        },
        "traceparent": {
            "description": "W3C Trace Context, if the request or the bridge is traced.",
            "type": "string",
            "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        },
    }
)
_ALWAYS: Final = ("entity", "action", "endpoint")

_ORIGIN: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "original_exchange": {"description": "The exchange it was meant for.", **_TEXT},
        "original_routing_key": {"description": "Its routing key.", **_TEXT},
    }
)


def _parked(reasons: Iterable[str]) -> Mapping[str, Schema]:
    return {
        "reason": {
            "description": "Why it is here; it is the routing key too.",
            "anyOf": [{"enum": list(reasons)}, {"type": "string"}],
        },
        "time": {
            "description": "When it was received, or parked.",
            "type": "string",
            "format": "date-time",
        },
    }


def _headers(description: str, required: tuple[str, ...], *of: Mapping[str, Schema]) -> Schema:
    properties = {name: schema for some in of for name, schema in some.items()}
    return {
        "description": description,
        "type": "object",
        "required": list(required),
        "properties": properties,
    }


HEADERS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "headers": _headers("Of an event.", _ALWAYS, _EVENT),
        "unrouted_headers": _headers(
            "Of an event that no queue was bound for.", (*_ALWAYS, *_ORIGIN), _EVENT, _ORIGIN
        ),
        "not_understood_headers": _headers(
            "Of what could not be understood.",
            ("reason", "time", "endpoint"),
            _parked(Unreadable),
            {name: _EVENT[name] for name in ("endpoint", "retry", "traceparent")},
        ),
        "not_delivered_headers": _headers(
            "Of an event that the broker would not take. One whose row in the spool was damaged may"
            " lack those of its event.",
            ("reason", "time", "endpoint", *_ORIGIN),
            _parked(Undelivered),
            _ORIGIN,
            _EVENT,
        ),
    }
)
"""Schemas of the headers of each kind of message, by name."""


PROPERTIES: Final[Schema] = {
    "type": "object",
    "required": ["content_type", "delivery_mode", "message_id", "timestamp", "type", "app_id"],
    "properties": {
        "content_type": {"enum": [CLOUDEVENTS_JSON, RAW_JSON, UNREADABLE]},
        "delivery_mode": {"description": "Persistent.", "const": 2},
        "message_id": {
            "description": "The `id` of the event, or the hash of what could not be understood.",
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID_BYTES,
            "pattern": _NO_CONTROLS,
        },
        "timestamp": {"description": "Receipt, in whole seconds.", "type": "integer"},
        "type": {
            "description": "The `type` of the event.",
            "type": "string",
            "pattern": r"^com\.superoffice\.",
            "maxLength": MAX_KEY_BYTES,
        },
        "app_id": {"const": "superoffice-bridge"},
    },
}
"""Schema of the AMQP properties beside the headers, all of which are always there."""


def exchange(name: str, *, vhost: str, kind: str = "topic") -> dict[str, Any]:
    """Return the description of an exchange in AsyncAPI's form."""
    return {"name": name, "type": kind, "durable": True, "autoDelete": False, "vhost": vhost}


SENT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "deliveryMode": 2,
        "mandatory": True,
        "timestamp": True,
        "bindingVersion": BINDING,
    }
)
"""How every message is published: persistent and mandatory, so returned if no queue is bound."""
