"""The schemas of a message's body: the envelope, and ``data`` of each entity.

References lead to ``#/$defs``. A document that has its schemas elsewhere calls ``relocated``.

The schemas use only what JSON Schema 2020-12 and draft 7 understand alike, because AsyncAPI's own
schemas are of draft 7. There is one exception: draft 7 ignores descriptions beside a reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge.contract.kinds import OF_KIND, VISIBLE, Schema
from bridge.contract.names import ANY, ENTITY_OF
from bridge.core.message import MAX_ID_BYTES, SCHEMA_VERSION, SCHEMAS
from bridge.core.routing import MAX_KEY_BYTES
from bridge.superoffice.catalogue import EXTRA_TABLE, LIST, Entity, Kind
from bridge.superoffice.names import TYPE_PREFIX
from bridge.superoffice.normalize import snake_case

_KELVIN: Final = "\N{KELVIN SIGN}"
"""The only letter outside ASCII whose lower case is an ASCII letter."""

_PATTERNS: Final = {LIST.name: ("list.*", r"list\."), EXTRA_TABLE.name: ("y_*", "y_")}
"""Schemas for many names: the pattern that their ``$id`` has, and the start of the names."""


def urn(name: str) -> str:
    """Return the ``$id`` of a schema of ``data``: the ``dataschema`` of a plain entity."""
    entity = ENTITY_OF[name]
    shown, _ = _PATTERNS.get(entity.name, (entity.name, None))
    return f"{SCHEMAS}{shown}:{SCHEMA_VERSION}"


def dataschema(name: str) -> Schema:
    """Return the schema of the attribute ``dataschema`` of an entity's messages."""
    entity = ENTITY_OF[name]
    if entity is ANY:
        return {"type": "string", "format": "uri", "pattern": f"^{SCHEMAS}.*:{SCHEMA_VERSION}$"}
    if entity.name in _PATTERNS:
        start = _PATTERNS[entity.name][1]
        return {
            "type": "string",
            "format": "uri",
            "pattern": f"^{SCHEMAS}{start}.*:{SCHEMA_VERSION}$",
        }
    return {"const": urn(name)}


def data(name: str) -> Schema:
    """Return the schema of an entity's ``data``."""
    entity = ENTITY_OF[name]
    title = camel_case(name)
    return {
        "title": title,
        "description": _about(entity),
        "type": "object",
        "required": list(_MEMBERS),
        "properties": {
            **_MEMBERS,
            "entity": _entity_name(entity),
            "action": _action(entity),
            "field_values": _columns(
                f"{title}FieldValues",
                f"Columns and their values{_on(entity.fields_on)}. Custom columns come too.",
                entity.fields,
                entity.notes,
            ),
            "values": _columns(
                f"{title}Values",
                f"Columns of a deleted record{_on(('deleted',) if entity.values else ())}.",
                {column: entity.fields.get(column, Kind.INT) for column in entity.values},
            ),
        },
    }


def envelope(*, name: str = "any", data: Schema | None = None) -> Schema:
    """Return the schema of the CloudEvent around an entity's ``data``."""
    title = f"{camel_case(name)}Event" if name != "any" else "Event"
    return {
        "title": title,
        "description": "A CloudEvent 1.0 in structured JSON.",
        "type": "object",
        "required": [name for name in _ATTRIBUTES if name not in _OPTIONAL],
        "properties": {
            **_ATTRIBUTES,
            "dataschema": {"description": "Names the schema of `data`.", **dataschema(name)},
            "data": data or {"$ref": f"#/$defs/{name}"},
        },
    }


def relocated(schema: Any, *, to: str) -> Any:
    """Return the schema with its references to ``#/$defs/`` leading elsewhere."""
    if isinstance(schema, Mapping):
        return {
            key: value.replace("#/$defs/", to, 1) if key == "$ref" else relocated(value, to=to)
            for key, value in schema.items()
        }
    return [relocated(item, to=to) for item in schema] if isinstance(schema, list) else schema


def camel_case(name: str) -> str:
    """Return the name of a type: ``extra_table`` -> ``ExtraTable``."""
    return "".join(word.capitalize() for word in name.split("_"))


RAW: Final[Schema] = {
    "description": "The webhook as it was received.",
    "type": "object",
    "required": ["Event"],
    "properties": {"Event": {"type": "string"}},
}

_64_BITS: Final = {"minimum": -(2**63), "maximum": 2**64 - 1}
"""Range of the integers that are read from JSON without a loss, signed or unsigned."""

_MEMBERS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "event": {
            "description": "The event's name, as SuperOffice sent it.",
            "type": "string",
            "minLength": 1,
        },
        "entity": {},
        "action": {},
        "primary_key": {
            "description": "The record's key: up to 64 bits, text where it is not a number.",
            "type": ["integer", "string", "null"],
            **_64_BITS,
        },
        "context_identifier": {
            "description": "The SuperOffice installation, such as Cust20001.",
            "type": ["string", "null"],
        },
        "changed_by_associate_id": {
            "description": "Who made the change.",
            "type": ["integer", "null"],
            **_64_BITS,
        },
        "webhook_name": {
            "description": "The webhook that brought the event, as registered.",
            "type": ["string", "null"],
        },
        "changes": {
            "description": "The names of the columns that changed.",
            "type": "array",
            "items": {"type": "string"},
        },
        "field_values": {},
        "values": {},
        "properties": {
            "description": "Every other property of the webhook, untouched.",
            "type": "object",
        },
    }
)
"""The members of ``data``, all of which are always there."""

_ATTRIBUTES: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "specversion": {"const": "1.0"},
        "id": {
            "description": "Drop repeats by it: no two events share one. Its form may change.",
            "type": "string",
            "minLength": 1,
            "pattern": VISIBLE,
            "maxLength": MAX_ID_BYTES,
        },
        "source": {
            "description": "The installation: /superoffice/Cust20001.",
            "type": "string",
            "format": "uri-reference",
            "minLength": 1,
            "pattern": VISIBLE,
        },
        "type": {
            "description": f"{TYPE_PREFIX} and the event's name in lower case.",
            "type": "string",
            "pattern": r"^com\.superoffice\.",
            "maxLength": MAX_KEY_BYTES,
        },
        "subject": {
            "description": "The record: contact/4711. Absent without a primary key.",
            "type": "string",
            "pattern": "^[^/]*/.",
        },
        "time": {
            "description": "When SuperOffice raised the event, or else its receipt.",
            "type": "string",
            "format": "date-time",
        },
        "datacontenttype": {"const": "application/json"},
        "dataschema": {},
        "eventid": {
            "description": "The EventId of SuperOffice, which several events may share. Absent"
            " where there is none.",
            "type": "string",
            "minLength": 1,
            "pattern": VISIBLE,
            "maxLength": MAX_ID_BYTES,
        },
        "data": {},
    }
)


_OPTIONAL: Final = ("subject", "eventid")
"""Attributes that may be absent."""


def _about(entity: Entity) -> str:
    events = ", ".join(f"{entity.name}.{action}" for action in entity.actions)
    return f"{entity.about} Of {events}." if events else entity.about


def _on(actions: Iterable[str]) -> str:
    return f", with {', '.join(actions)}" if actions else ""


def _entity_name(entity: Entity) -> Schema:
    """Return the schema of the entity's name, which events invented by users spell in any case."""
    described = {"description": "`event` up to its last dot.", "type": "string"}
    if entity is ANY:
        return described
    if entity.name in _PATTERNS:
        pattern = f"^{_any_case(_PATTERNS[entity.name][1])}"
        examples = ["list.category"] if entity is LIST else ["y_rental"]
    else:
        pattern, examples = f"^{_any_case(entity.name)}$", [entity.name]
    return {**described, "pattern": pattern, "examples": examples}


def _any_case(pattern: str) -> str:
    """Return the pattern for any case: ECMA regular expressions have no flag within a pattern."""
    return "".join(
        f"[{letter.upper()}{letter}{_KELVIN if letter == 'k' else ''}]"
        if letter.isalpha()
        else letter
        for letter in pattern
    )


def _action(entity: Entity) -> Schema:
    described = {"description": "`event` after its last dot; empty for a name without one."}
    known = list(entity.actions) or [""]
    if entity is ANY:
        return {**described, "type": "string"}
    return {**described, "anyOf": [{"enum": known}, {"type": "string"}]}


def _columns(
    title: str,
    description: str,
    columns: Mapping[str, Kind],
    notes: Mapping[str, str] = MappingProxyType({}),
) -> Schema:
    return {
        "title": title,
        "description": description,
        "type": "object",
        "properties": {
            snake_case(column): {
                "$ref": f"#/$defs/{OF_KIND[kind]}",
                **({"description": notes[column]} if column in notes else {}),
            }
            for column, kind in columns.items()
        },
    }
