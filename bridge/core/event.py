"""The two forms of an event: as SuperOffice delivered it, and as consumers see it.

Whatever is made for every event is a named tuple: as immutable as a frozen dataclass, and made in
a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Record = tuple[str, str | None, str, int | str]
"""What events are about: (endpoint, ContextIdentifier, entity in lower case, primary key).

Order is kept per record.
"""


def record_of(endpoint: str, context: str | None, entity: str, key: int | str) -> Record:
    """Return the record of these four. The case of the entity does not matter.

    Raises TypeError for an entity that is not a string.
    """
    return endpoint, context, str.lower(entity), key


class Delivery(NamedTuple):
    """One POST of SuperOffice.

    ``body`` has the bytes of the wire. ``received_ns`` counts from the Unix epoch. The last four
    come from headers, which no signature covers: they are compared or passed on, never obeyed.
    """

    endpoint: str
    body: bytes
    received_ns: int
    retry: int | None = None
    traceparent: str | None = None
    header_event: str | None = None
    header_event_id: str | None = None


class Payload(NamedTuple):
    """What was parsed of a delivery: the JSON object, its known properties typed.

    A known property of an unexpected type is not lost: it is in ``properties`` under its own name,
    together with every unknown one. ``null`` counts as absent. ``timestamp`` is RFC 3339 as
    received. ``event_id`` is None when the body has no usable one.
    """

    event: str
    entity: str
    action: str
    event_id: str | None
    timestamp: str | None
    primary_key: int | str | None
    context_identifier: str | None
    changed_by_associate_id: int | None
    webhook_name: str | None
    changes: list[Any]
    values: Mapping[str, Any]
    field_values: Mapping[str, Any]
    properties: Mapping[str, Any]


class Event(NamedTuple):
    """A SuperOffice event in the bridge's normal form.

    ``id`` is unique (see ``bridge.superoffice.identity``); ``event_id`` is SuperOffice's own, None
    when there is no usable one. ``time`` is RFC 3339. ``type`` and ``data`` are the members of the
    CloudEvent, ``data`` ready for JSON. ``record`` is None when the event has no primary key: then
    it has no order.
    """

    id: str
    event_id: str | None
    name: str
    entity: str
    action: str
    primary_key: int | str | None
    context: str | None
    endpoint: str
    time: str
    type: str
    record: Record | None
    data: Mapping[str, Any]
