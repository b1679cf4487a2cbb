"""One consistent shape out of SuperOffice's many. The meaning never changes.

Every rule for a name is in this file, every rule for a value in ``values.py``. A value is changed
only where the catalogue says what it is, or in an extra table, whose values say it themselves.
Everything else passes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final, final

from bridge.core.event import Delivery, Event, Payload, record_of
from bridge.core.routing import topic_of
from bridge.core.times import rfc3339
from bridge.superoffice.catalogue import ENTITIES, EXTRA_TABLE, LIST, find
from bridge.superoffice.identity import Identity, identify
from bridge.superoffice.names import event_type
from bridge.superoffice.values import CONVERT, unbracketed

_UNUSED: Final = {
    "Entity": "entity_unused",
    "PrimaryKey": "primary_key_unused",
    "ContextIdentifier": "context_identifier_unused",
    "ChangedByAssociateId": "changed_by_associate_id_unused",
    "WebhookName": "webhook_name_unused",
    "Changes": "changes_unused",
    "Values": "values_unused",
    "FieldValues": "field_values_unused",
}

ODDITIES: Final = (
    "no_event_id",
    "no_timestamp",
    "name_collision",
    "header_event_differs",
    "header_event_id_differs",
    *_UNUSED.values(),
)
"""What can be odd about a delivery. What is ``..._unused`` stays in ``properties``."""

# Both match between two letters. A pattern of runs of letters would scan them again and again.
_ACRONYM: Final = re.compile(r"(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ASCII_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)

_KEPT_NAMES: Final = 64
_KEPT_LETTERS: Final = 2000
"""Maximum size of an object whose shape is remembered. SuperOffice's largest has a tenth of it."""


Normalized = tuple[Event, tuple[str, ...]]
"""An event, and what was odd about its delivery: some of ``ODDITIES``."""


def normalize(
    payload: Payload, *, delivery: Delivery, identity: Identity | None = None
) -> Normalized:
    """Return the event in the bridge's normal form, which every payload has, and its oddities.

    A caller that knows the event's ``identity`` already saves its computation.
    """
    field_values, collision = _fields(payload.field_values, payload.entity)
    values, another = _fields(payload.values, payload.entity)
    endpoint, context = delivery.endpoint, payload.context_identifier
    entity, key = payload.entity, payload.primary_key
    event = Event(  # in the order of its fields, because this runs once for every event
        (identity or identify(payload, delivery)).id,
        payload.event_id,
        payload.event,
        entity,
        payload.action,
        key,
        context,
        endpoint,
        payload.timestamp or rfc3339(delivery.received_ns, timespec="microseconds"),
        event_type(topic_of(payload.event, entity, payload.action)),
        None if key is None else record_of(endpoint, context, entity, key),
        {
            "event": payload.event,
            "entity": entity,
            "action": payload.action,
            "primary_key": key,
            "context_identifier": context,
            "changed_by_associate_id": payload.changed_by_associate_id,
            "webhook_name": payload.webhook_name,
            "changes": list(map(_SNAKE.__getitem__, payload.changes)),
            "field_values": field_values,
            "values": values,
            "properties": payload.properties,
        },
    )
    return event, _oddities(payload, delivery, collision=collision or another)


def snake_case(name: str) -> str:
    """Return the one spelling of a column's name: ``DeletedDate`` -> ``deleted_date``.

    Dots stay, and so do letters outside ASCII: ``chatSession.topicId`` ->
    ``chat_session.topic_id``.
    """
    words = _WORD.sub("_", _ACRONYM.sub("_", name))
    return words.translate(_ASCII_LOWER)


class _SnakeCase(dict[str, str]):
    """The spellings of the names seen so far. Names can be invented, so it stops growing."""

    def __missing__(self, name: str) -> str:
        snake = snake_case(name)
        if len(self) < 4096 and len(name) <= 64:
            self[name] = snake
        return snake


_SNAKE: Final = _SnakeCase()


def _oddities(payload: Payload, delivery: Delivery, *, collision: bool) -> tuple[str, ...]:
    found = [_UNUSED[name] for name in payload.properties if name in _UNUSED]
    if payload.event_id is None:
        found.append("no_event_id")
    elif delivery.header_event_id not in (payload.event_id, None):
        found.append("header_event_id_differs")
    if payload.timestamp is None:
        found.append("no_timestamp")
    if delivery.header_event not in (payload.event, None):
        found.append("header_event_differs")
    if collision:
        found.append("name_collision")
    return tuple(found)


@final
class _Shape:
    """How to normalize an object of these columns: worked out once."""

    __slots__ = ("bracketed", "collision", "conversions", "names")

    def __init__(
        self,
        names: list[str],
        conversions: list[tuple[str, Callable[[Any], Any]]],
        collision: bool,
        bracketed: bool,
    ) -> None:
        self.names: Final = names
        self.conversions: Final = conversions
        self.collision: Final = collision
        self.bracketed: Final = bracketed


def _fields(columns: Mapping[str, Any], entity: str) -> tuple[dict[str, Any], bool]:
    """Return the columns in normal form, and whether two of their names became equal."""
    if not columns:
        return {}, False
    small = len(columns) <= _KEPT_NAMES and len("".join((entity, *columns))) <= _KEPT_LETTERS
    shape = (_known_shape if small else _shape)(entity, *columns)
    values: Iterable[Any] = columns.values()
    if shape.bracketed:
        values = map(unbracketed, values)
    fields = dict(zip(shape.names, values, strict=True))
    for name, convert in shape.conversions:
        fields[name] = convert(fields[name])
    return fields, shape.collision


def _shape(entity: str, *columns: str) -> _Shape:
    known = find(entity)
    conversions = _CONVERSIONS[known.name] if known else {}
    names = [_SNAKE[column] for column in columns]
    collision = len(set(names)) < len(names)
    if collision:
        names = _spellings(columns)
    return _Shape(
        names,
        [(name, conversions[_SNAKE[name]]) for name in names if _SNAKE[name] in conversions],
        collision,
        known is EXTRA_TABLE,
    )


_known_shape = lru_cache(maxsize=256)(_shape)
"""SuperOffice sends the same columns of an entity again and again. At most some 30 KB each."""


def _spellings(columns: Sequence[str]) -> list[str]:
    """Return names that stay different.

    If two would become equal, the later one keeps its own spelling. So does an earlier one, if the
    other is in snake_case already and cannot give way.
    """
    taken = {name for name in columns if _SNAKE[name] == name}
    names = []
    for name in columns:
        names.append(name if _SNAKE[name] in taken else _SNAKE[name])
        taken.add(names[-1])
    return names


_CONVERSIONS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    entity.name: {
        snake_case(column): CONVERT[kind]
        for column, kind in entity.fields.items()
        if kind in CONVERT
    }
    for entity in (*ENTITIES, LIST, EXTRA_TABLE)
}
