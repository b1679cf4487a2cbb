"""What tells one event from all others, for the bridge's own memory and for its consumers.

An EventId alone does not: webhooks may share one, and programs send the same one for everything.
See docs/decisions/0027.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, NamedTuple

import orjson

from bridge.core.event import Delivery, Payload
from bridge.core.message import MAX_ID_BYTES, body_id

KEY_BYTES: Final = 16
"""Size of a key: as unlikely to come twice as a UUID, however many events share an EventId."""

_NAME_BYTES: Final = MAX_ID_BYTES - len(".") - 2 * KEY_BYTES

_MISTYPED: Final = ("ContextIdentifier", "WebhookName", "Entity", "PrimaryKey")
"""Properties that tell events apart, found under these names when nobody could use them."""

# https://www.rfc-editor.org/rfc/rfc9562#section-4: the versions and the variant it defines.
_UUID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE
)

_FEWEST_DIGITS: Final = 5
"""Minimum of different digits: no random UUID of a trillion has fewer."""


class Identity(NamedTuple):
    """Two forms of the same: of two events either both are equal, or neither is.

    ``key`` has ``KEY_BYTES``. ``id`` is the EventId, or else the hash of the body, with the key in
    hexadecimal digits after a dot: at most ``MAX_ID_BYTES``, all visible ASCII.
    """

    key: bytes
    id: str


def identify(payload: Payload, delivery: Delivery) -> Identity:
    """Return what all attempts of an event have in common, and no other event has.

    It is a function of nothing else: the same before and after a restart, in every replica.
    """
    number = payload.primary_key
    is_told = number is not None and is_unique(payload.event_id or "")
    # Nothing short of the body tells apart what is of no record, or has an id that anything may be.
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
    """Return whether an EventId looks as if it was made for one event: as a random UUID does.

    That is what SuperOffice sends. Words, counters and all that a program writes by itself may be
    the same for every event.
    """
    digits = set(event_id)
    digits.discard("-")
    return len(digits) >= _FEWEST_DIGITS and _UUID.fullmatch(event_id) is not None
