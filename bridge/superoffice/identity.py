"""The identity of an event: what tells it from all others, for the bridge and for consumers.

An EventId alone does not: two webhooks may share one, and some programs send the same one with
every event. See docs/decisions/0027.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, final

import orjson

from bridge.core.event import Delivery, Payload
from bridge.core.message import MAX_ID_BYTES, body_id

KEY_BYTES: Final = 16
"""Size of a key. Two events have the same one as rarely as two UUIDs are equal."""

_NAME_BYTES: Final = MAX_ID_BYTES - len(".") - 2 * KEY_BYTES

_MISTYPED: Final = ("ContextIdentifier", "WebhookName", "Entity", "PrimaryKey")
"""Properties that tell events apart. Those of an unexpected type are found under these names."""

# https://www.rfc-editor.org/rfc/rfc9562#section-4: the versions and the variant it defines.
_UUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)

_FEWEST_DIGITS: Final = 5
"""Minimum number of different digits: of a trillion random UUIDs none has fewer."""


@final
class Identity:
    """Two forms of one identity: two events differ in both, or in neither.

    ``key`` has ``KEY_BYTES``. ``id`` is the EventId, or else the hash of the body, with the key in
    hexadecimal digits after a dot: at most ``MAX_ID_BYTES``, all visible ASCII.
    """

    __slots__ = ("id", "key")

    def __init__(
        self,
        key: bytes,
        id: str,
    ) -> None:
        self.key: Final = key
        self.id: Final = id


def identify(payload: Payload, delivery: Delivery) -> Identity:
    """Return what all attempts of an event have in common, and no other event has.

    It depends on nothing else, so it is the same after a restart and in every replica.
    """
    number = payload.primary_key
    is_told = number is not None and is_unique(payload.event_id or "")
    # Without a record, or with an EventId that was not made for one event, only the body can tell.
    body = None if is_told else body_id(delivery.body)
    name = payload.event_id or str(body)
    parts = (
        delivery.endpoint,
        payload.context_identifier,
        payload.webhook_name,
        payload.event,
        name,
        number,
        body,
        *map(payload.properties.get, _MISTYPED),
    )
    key = sha256(orjson.dumps(parts)).digest()[:KEY_BYTES]
    return Identity(key, f"{name[:_NAME_BYTES]}.{key.hex()}")


def is_unique(event_id: str) -> bool:
    """Return whether an EventId looks as if it was made for one event, as a random UUID does.

    SuperOffice sends UUIDs. Words and counters, which programs choose, may come with every event.
    """
    if _UUID.fullmatch(event_id) is None:
        return False
    # Of almost every UUID the eight digits before its first dash are enough.
    return len(set(event_id[:8])) >= _FEWEST_DIGITS or len(set(event_id) - {"-"}) >= _FEWEST_DIGITS
