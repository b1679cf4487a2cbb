"""One consistent shape out of SuperOffice's many, and never a changed meaning.

Every rule that touches a name or a value is in this file. A value is only touched where the
catalogue says what it is, or in an extra table, whose values say it themselves. What no rule
knows passes unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final, NamedTuple

from bridge.core.event import Delivery, Event, Payload, record_of
from bridge.core.routing import topic_of
from bridge.core.times import rfc3339
from bridge.superoffice.catalogue import ENTITIES, EXTRA_TABLE, LIST, Kind, find
from bridge.superoffice.identity import Identity, identify
from bridge.superoffice.names import event_type
from bridge.superoffice.payload import date_time, integer

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
"""All that ``Normalized.oddities`` can say. What is ``..._unused`` was left in ``properties``."""

# Places between two letters, not runs of them, which would be looked through again and again.
_ACRONYM: Final = re.compile(r"(?<=[A-Z])(?=[A-Z][a-z])")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_ASCII_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)

# The first day of .NET, and the one that SuperOffice's database calls the beginning of time.
_NO_DATE: Final = re.compile(r"(?:0001|1760)-01-01(?:T00:00:00(?:\.0+)?)?")
_NO_DATE_DAYS: Final = frozenset({"0001-01-01", "1760-01-01"})

_KEPT_NAMES: Final = 64
_KEPT_LETTERS: Final = 2000
"""Maximum size of what is remembered of one object: SuperOffice's largest has a tenth of it."""

# CultureDataFormatter writes [kind:value], dates in US order, in the tenant's time.
# https://docs.superoffice.com/en/globalization-and-localization/culture/culturedataformatter.html
_BRACKETED: Final = re.compile(r"\[(I|F|B|D|DT):([^\]]*)\]")
_US_DATE: Final = re.compile(
    r"([0-9]{2})/([0-9]{2})/([0-9]{4})(?: ([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?)?"
)
_FLOAT: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_BOOLEANS: Final = {
    "True": True,
    "true": True,
    "1": True,
    "False": False,
    "false": False,
    "0": False,
}


class Normalized(NamedTuple):
    """An event, and what was odd about its delivery: some of ``ODDITIES``, to be counted."""

    event: Event
    oddities: tuple[str, ...]


def normalize(
    payload: Payload, *, delivery: Delivery, identity: Identity | None = None
) -> Normalized:
    """Return the event in the bridge's normal form. Every payload has one.

    ``identity`` is that of the event, for callers who know it already.
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
    return Normalized(event, _oddities(payload, delivery, collision=collision or another))


def snake_case(name: str) -> str:
    """Return the one spelling of a column's name: ``DeletedDate`` -> ``deleted_date``.

    Dots stay, and so do letters outside ASCII: ``chatSession.topicId`` ->
    ``chat_session.topic_id``.
    """
    words = _WORD.sub("_", _ACRONYM.sub("_", name))
    return words.translate(_ASCII_LOWER)


class _SnakeCase(dict[str, str]):
    """The spellings of the names seen so far. Anybody can invent names, so it stops growing."""

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


class _Shape(NamedTuple):
    """What to do with an object of an entity whose names are known: worked out once."""

    names: list[str]
    conversions: list[tuple[str, Callable[[Any], Any]]]
    collision: bool
    bracketed: bool


def _fields(columns: Mapping[str, Any], entity: str) -> tuple[dict[str, Any], bool]:
    """Return the columns in normal form, and whether two of their names became equal."""
    if not columns:
        return {}, False
    small = len(columns) <= _KEPT_NAMES and len("".join((entity, *columns))) <= _KEPT_LETTERS
    shape = (_known_shape if small else _shape)(entity, *columns)
    values: Iterable[Any] = columns.values()
    if shape.bracketed:
        values = map(_unbracketed, values)
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
"""SuperOffice sends the same names of an entity again and again. At most some 30 KB each."""


def _spellings(columns: Sequence[str]) -> list[str]:
    """Return names that stay different: of two that would become equal, the later is kept.

    One that is in snake_case already cannot give way, so it makes an earlier one stay too.
    """
    taken = {name for name in columns if _SNAKE[name] == name}
    names = []
    for name in columns:
        names.append(name if _SNAKE[name] in taken else _SNAKE[name])
        taken.add(names[-1])
    return names


def _flag(value: Any) -> Any:
    return value == 1 if type(value) is int and value in (0, 1) else value


def _number(value: Any) -> Any:
    number = integer(value) if type(value) is str else None
    return value if number is None else number


def _date(value: Any) -> Any:
    """Null for "no date", UTC if there is an offset. The tenant's own time stays as it is."""
    if type(value) is not str:
        return value
    if value[:10] in _NO_DATE_DAYS and _NO_DATE.fullmatch(value):
        return None
    if len(value) < len("2026-03-02T10:15:27+01:00") or value[-1] == "Z":
        return value
    read = date_time(value)
    if read is None:
        return value
    seconds, fraction, offset = read
    utc = _utc(seconds, offset)
    return value if utc is None else f"{utc}{fraction}Z"


@lru_cache(maxsize=1024)
def _utc(seconds: datetime, offset: str) -> str | None:
    """Return whole seconds in UTC, remembered because events of one second come together.

    None when that is before year 1 or after year 9999.
    """
    ahead = timedelta(hours=int(offset[1:3]), minutes=int(offset[4:6]))
    try:
        return (seconds + ahead if offset[0] == "-" else seconds - ahead).isoformat()
    except OverflowError:
        return None


def _unbracketed(value: Any) -> Any:
    """Return what ``[kind:value]`` says if it says it beyond doubt, anything else as it is."""
    match = _BRACKETED.fullmatch(value) if type(value) is str else None
    return _BRACKETS[match[1]](match[2], value) if match else value


def _bracketed_integer(text: str, raw: str) -> int | str:
    number = integer(text)
    return raw if number is None else number


def _bracketed_float(text: str, raw: str) -> float | str:
    """Return a number that is written as it came: ``3.14`` and ``3``, but not ``1.10``."""
    exact = _FLOAT.fullmatch(text) and repr(float(text)) in (text, f"{text}.0")
    return float(text) if exact else raw


def _bracketed_boolean(text: str, raw: str) -> bool | str:
    return _BOOLEANS.get(text, raw)


def _bracketed_date(text: str, raw: str) -> str | None:
    """Return ISO 8601 without a zone, for it is the tenant's own time; None for "no date"."""
    match = _US_DATE.fullmatch(text)
    if match is None:
        return raw
    month, day, year, time, fraction = match.groups(default="")
    seconds = f"{year}-{month}-{day}{time and 'T'}{time}"
    try:
        datetime.fromisoformat(seconds)
    except ValueError:
        return raw
    iso = seconds + fraction
    return None if _NO_DATE.fullmatch(iso) else iso


_BRACKETS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "I": _bracketed_integer,
    "F": _bracketed_float,
    "B": _bracketed_boolean,
    "D": _bracketed_date,
    "DT": _bracketed_date,
}
_CONVERT: Final = {Kind.FLAG: _flag, Kind.NUMERIC: _number, Kind.DATE: _date}
_CONVERSIONS: Final[Mapping[str, Mapping[str, Callable[[Any], Any]]]] = {
    entity.name: {
        snake_case(column): _CONVERT[kind]
        for column, kind in entity.fields.items()
        if kind in _CONVERT
    }
    for entity in (*ENTITIES, LIST, EXTRA_TABLE)
}
