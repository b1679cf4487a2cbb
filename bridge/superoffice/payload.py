"""From the bytes of a webhook to its typed properties. Nothing is lost on the way.

https://docs.superoffice.com/en/automation/webhook/dev/notification.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from bridge.core import jsontext
from bridge.core.errors import PayloadInvalid
from bridge.core.event import Payload
from bridge.core.message import MAX_ID_BYTES
from bridge.core.reasons import Unreadable
from bridge.core.routing import remembered
from bridge.superoffice.datetimes import is_date_time

# RFC 8259 forbids a byte order mark and lets readers ignore one. SuperOffice sends none.
_BOM: Final = b"\xef\xbb\xbf"

# orjson reads 1024 levels but writes only 254, and the message puts two around those of the body.
_DEEPEST: Final = 250

# With a letter, or a digit other than 0: the nil UUID, zeros and dashes identify nothing.
_EVENT_ID = re.compile(r"[!-~]*[1-9A-Za-z][!-~]*")
_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
_STATE_EVENT = re.compile(r"(webhook)([0-9]+)\.([^.]+)", re.ASCII | re.IGNORECASE)


def parse(body: bytes) -> Payload:
    """Return the properties of a webhook.

    Raises ``PayloadInvalid`` with the reason, or ``MemoryError``: that is no fault of the body.
    A known property of an unexpected type stays in ``properties`` under its own name, among the
    unknown ones and in their order. If a property is given twice, the last one counts.
    """
    rest = _object(body)
    event = rest.pop("Event", None)
    if type(event) is not str or not event.strip():
        raise PayloadInvalid(Unreadable.NO_EVENT)
    entity, action, number = split_event(event)
    if rest.get("Entity", entity) in (entity, None):
        rest.pop("Entity", None)
    return Payload(  # in the order of its fields, because this runs once for every event
        event,
        entity,
        action,
        _pop_usable(rest, "EventId", str, _is_id),
        _pop_usable(rest, "Timestamp", str, is_date_time),
        _primary_key(rest, number),
        _pop_usable(rest, "ContextIdentifier", str),
        _pop_usable(rest, "ChangedByAssociateId", int),
        _pop_usable(rest, "WebhookName", str),
        _pop_usable(rest, "Changes", list, _are_strings) or [],
        _pop_usable(rest, "Values", dict) or {},
        _pop_usable(rest, "FieldValues", dict) or {},
        rest,
    )


def context_of(payload: Payload) -> object:
    """Return the ContextIdentifier, whatever its type; None when there is none."""
    if payload.context_identifier is not None:
        return payload.context_identifier
    return payload.properties.get("ContextIdentifier")


@remembered
def split_event(event: str) -> tuple[str, str, int | None]:
    """Return entity, action and the number that state events carry in their name.

    ``contact.created`` -> contact, created; ``list.category.changed`` -> list.category, changed;
    ``webhook123.errors`` -> webhook, errors, 123; ``test`` -> test and an empty action.
    """
    state = _STATE_EVENT.fullmatch(event)
    number = integer(state[2]) if state else None
    if state and number is not None:
        return state[1], state[3], number
    entity, dot, action = event.rpartition(".")
    return (entity, action, None) if dot else (event, "", None)


def integer(text: str) -> int | None:
    """Return the integer of a canonical decimal within 64 bits: ``7``, not ``07`` or ``+7``."""
    if _DECIMAL.fullmatch(text) is None:
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = jsontext.read(body.removeprefix(_BOM))
    except orjson.JSONDecodeError as error:
        reason = Unreadable.NOT_JSON if _is_utf8(body) else Unreadable.NOT_UTF8
        raise PayloadInvalid(reason) from error
    if type(document) is not dict:
        raise PayloadInvalid(Unreadable.NOT_OBJECT)
    if _opens_often(body) and _is_deep(document):
        raise PayloadInvalid(Unreadable.NOT_JSON)
    return document


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _opens_often(body: bytes) -> bool:
    """Return whether this has as many brackets as too deep an object has: hardly ever.

    ``find`` looks at many bytes at a time, ``count`` at each.
    """
    found = 0
    for bracket in (b"[", b"{"):
        place = body.find(bracket)
        while place >= 0:
            found += 1
            if found > _DEEPEST:
                return True
            place = body.find(bracket, place + 1)
    return False


def _is_deep(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        children = (node.values() if type(node) is dict else node for node in level)
        level = [child for some in children for child in some if type(child) in (dict, list)]
    return bool(level)


def _pop_usable(
    rest: dict[str, Any], name: str, kind: type, usable: Callable[[Any], object] | None = None
) -> Any:
    """Remove and return a property that is usable. Null is removed; anything else stays."""
    value = rest.get(name)
    if value is None:
        rest.pop(name, None)
    elif type(value) is kind and (usable is None or usable(value)):
        del rest[name]
        return value
    return None


def _is_id(text: str) -> bool:
    """Return whether a text can be an attribute of the event, and the start of its id.

    Attributes are visible ASCII. Whether it identifies the event: ``bridge.superoffice.identity``.
    """
    return len(text) <= MAX_ID_BYTES and _EVENT_ID.fullmatch(text) is not None


def _are_strings(items: list[Any]) -> bool:
    for item in items:  # noqa: SIM110  # interpreted, all() would take twice as long
        if type(item) is not str:
            return False
    return True


def _primary_key(rest: dict[str, Any], number: int | None) -> int | str | None:
    """Return the key: the one in the event's name, else PrimaryKey, which stays if it differs."""
    value = rest.get("PrimaryKey")
    own = _key(value)
    key = own if number is None else number
    if value is None or (own is not None and own == key):
        rest.pop("PrimaryKey", None)
    return key


def _key(value: Any) -> int | str | None:
    if type(value) is str and value.strip():
        number = integer(value)
        return value if number is None else number
    return value if type(value) is int else None
