"""The JSON object that SuperOffice posts.

https://docs.superoffice.com/en/automation/webhook/dev/notification.html
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from bridge.contract.examples import Examples

_NOT_BLANK: Final = r"[^\s\x1c-\x1f\x85]"
"""Any character that Python does not take for white space; JSON Schema's ``\\s`` lacks some."""

_SHOWN: Final = ("contact.created", "contact.deleted", "sale.sold", "list.category.created", "test")
"""Events whose golden requests are examples in the document."""


def schema() -> dict[str, Any]:
    """Return the schema of the body, as SuperOffice documents it.

    The bridge itself requires only ``Event``.
    """
    return {
        "title": "Webhook",
        "description": "A SuperOffice event. Only `Event` is needed. A property of another type"
        " than this, or one that is not listed (each webhook may be registered with some of its"
        " own), is passed on as it is.",
        "type": "object",
        "required": ["Event"],
        "properties": {
            "Event": {
                "description": "The name of the event; what follows the last dot is the action."
                " Names are open: users of SuperOffice invent their own.",
                "type": "string",
                "pattern": _NOT_BLANK,
            },
            **{
                name: {"description": about, "type": [*types.split(), "null"]} | more
                for name, (types, about, more) in _OPTIONAL.items()
            },
        },
        "additionalProperties": True,
    }


_OPTIONAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "EventId": (
        "string",
        "The id of the event, the same in every attempt. Where there is none, or zeros, or one of"
        " more than 200 bytes, the event is known by the SHA-256 of the body.",
        {},
    ),
    "Timestamp": ("string", "When it happened, in UTC, with up to seven decimals.", {}),
    "Entity": ("string", "The kind of record.", {}),
    "PrimaryKey": ("integer string", "The record's key; 0 where there is none.", {}),
    "Changes": ("array", "The columns that were changed.", {"items": {"type": "string"}}),
    "Values": ("object", "Columns of a deleted record.", {}),
    "FieldValues": ("object", "Columns and their values: ids, list items, dates.", {}),
    "ContextIdentifier": (
        "string",
        "The installation of SuperOffice: `Cust12345` online, `Default` on site.",
        {},
    ),
    "ChangedByAssociateId": ("integer", "Who made the change; 0: the system.", {}),
    "WebhookName": ("string", "The webhook's name, as it was registered.", {}),
}
"""Types, description and further keywords of each property, by name."""


def examples(golden: Examples) -> dict[str, Any]:
    """Return the bodies of some golden requests, by the name of their event."""
    return {name: orjson.loads(golden[name].body) for name in _SHOWN if name in golden}
