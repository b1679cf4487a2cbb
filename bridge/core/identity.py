"""What tells one event from all others, for the bridge's own memory and for its consumers.

An EventId alone does not: webhooks may share one, and programs send the same one for everything.
See docs/decisions/0027.
"""

from __future__ import annotations

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


class Identity(NamedTuple):
    """Two forms of the same: of two events either both are equal, or neither is.

    ``key`` has ``KEY_BYTES``. ``id`` is the EventId, or else the hash of the body, with the key in
    hexadecimal digits after a dot: at most ``MAX_ID_BYTES``.
    """

    key: bytes
    id: str


def identify(payload: Payload, delivery: Delivery) -> Identity:
    """Return what all attempts of an event have in common, and no other event has.

    It is a function of nothing else: the same before and after a restart, in every replica.
    """
    name = payload.event_id or body_id(delivery.body)
    number = payload.primary_key
    parts = (
        delivery.endpoint,
        payload.context_identifier,
        payload.webhook_name,
        payload.event,
        name,
        number,
        # What is of no record may be of any: nothing short of the body tells it apart.
        body_id(delivery.body) if number is None else None,
        *map(payload.properties.get, _MISTYPED),
    )
    key = sha256(orjson.dumps(parts)).digest()[:KEY_BYTES]
    return Identity(key, f"{_shortened(name)}.{key.hex()}")


def _shortened(name: str) -> str:
    if len(name) * 4 <= _NAME_BYTES:
        return name
    return name.encode()[:_NAME_BYTES].decode(errors="ignore")
