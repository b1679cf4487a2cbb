"""The two forms of an event: as SuperOffice delivered it, and as consumers see it.

Whatever is made for every event is a final class with slots: interpreted it is made as fast as a
named tuple, compiled much faster. Its attributes are final, so mypy lets nobody set them.
"""

from __future__ import annotations

from typing import Any, Final, final

Record = tuple[str, str | None, str, int | str]
"""What events are about: (endpoint, ContextIdentifier, entity in lower case, primary key).

Order is kept per record.
"""


def record_of(endpoint: str, context: str | None, entity: str, key: int | str) -> Record:
    """Return the record of these four. The case of the entity does not matter.

    Raises TypeError for an entity that is not a string.
    """
    return endpoint, context, str.lower(entity), key


@final
class Delivery:
    """One POST of SuperOffice.

    ``body`` has the bytes of the wire. ``received_ns`` counts from the Unix epoch. The last four
    come from headers, which no signature covers: they are compared or passed on, never obeyed.
    """

    __slots__ = (
        "body", "endpoint", "header_event", "header_event_id", "received_ns", "retry",
        "traceparent",
    )  # fmt: skip

    def __init__(
        self,
        endpoint: str,
        body: bytes,
        received_ns: int,
        retry: int | None = None,
        traceparent: str | None = None,
        header_event: str | None = None,
        header_event_id: str | None = None,
    ) -> None:
        self.endpoint: Final = endpoint
        self.body: Final = body
        self.received_ns: Final = received_ns
        self.retry: Final = retry
        self.traceparent: Final = traceparent
        self.header_event: Final = header_event
        self.header_event_id: Final = header_event_id


@final
class Payload:
    """What was parsed of a delivery: the JSON object, its known properties typed.

    A known property of an unexpected type is not lost: it is in ``properties`` under its own name,
    together with every unknown one. ``null`` counts as absent. ``timestamp`` is RFC 3339 as
    received. ``event_id`` is None when the body has no usable one.
    """

    __slots__ = (
        "action", "changed_by_associate_id", "changes", "context_identifier", "entity", "event",
        "event_id", "field_values", "primary_key", "properties", "timestamp", "values",
        "webhook_name",
    )  # fmt: skip

    def __init__(
        self,
        event: str,
        entity: str,
        action: str,
        event_id: str | None,
        timestamp: str | None,
        primary_key: int | str | None,
        context_identifier: str | None,
        changed_by_associate_id: int | None,
        webhook_name: str | None,
        changes: list[str],
        values: dict[str, Any],
        field_values: dict[str, Any],
        properties: dict[str, Any],
    ) -> None:
        self.event: Final = event
        self.entity: Final = entity
        self.action: Final = action
        self.event_id: Final = event_id
        self.timestamp: Final = timestamp
        self.primary_key: Final = primary_key
        self.context_identifier: Final = context_identifier
        self.changed_by_associate_id: Final = changed_by_associate_id
        self.webhook_name: Final = webhook_name
        self.changes: Final = changes
        self.values: Final = values
        self.field_values: Final = field_values
        self.properties: Final = properties


@final
class Event:
    """A SuperOffice event in the bridge's normal form.

    ``id`` is unique (see ``bridge.superoffice.identity``); ``event_id`` is SuperOffice's own, None
    when there is no usable one. ``time`` is RFC 3339. ``type`` and ``data`` are the members of the
    CloudEvent, ``data`` ready for JSON. ``record`` is None when the event has no primary key: then
    it has no order.
    """

    __slots__ = (
        "action", "context", "data", "endpoint", "entity", "event_id", "id", "name",
        "primary_key", "record", "time", "type",
    )  # fmt: skip

    def __init__(
        self,
        id: str,
        event_id: str | None,
        name: str,
        entity: str,
        action: str,
        primary_key: int | str | None,
        context: str | None,
        endpoint: str,
        time: str,
        type: str,
        record: Record | None,
        data: dict[str, Any],
    ) -> None:
        self.id: Final = id
        self.event_id: Final = event_id
        self.name: Final = name
        self.entity: Final = entity
        self.action: Final = action
        self.primary_key: Final = primary_key
        self.context: Final = context
        self.endpoint: Final = endpoint
        self.time: Final = time
        self.type: Final = type
        self.record: Final = record
        self.data: Final = data
