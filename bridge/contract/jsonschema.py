"""The JSON Schema 2020-12 documents: the envelope, and ``data`` of each entity.

Every document is complete in itself: its references stay in it, wherever it was fetched from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from bridge.contract import schema
from bridge.contract.examples import Examples, published
from bridge.contract.kinds import KINDS, Schema
from bridge.contract.names import ENTITY_OF, schema_of
from bridge.core.message import SCHEMA_VERSION, SCHEMAS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def envelope(examples: Examples) -> Schema:
    """Return the schema of any message's body in CloudEvents format.

    ``data`` is that of the schema which ``dataschema`` names.
    """
    definitions = {**KINDS, **{name: schema.data(name) for name in ENTITY_OF}}
    body = {**schema.envelope(), "allOf": [_dispatch(name) for name in ENTITY_OF if name != "any"]}
    shown = [example for example in examples if example == "contact.created"]
    return {
        # The slash keeps it apart from every dataschema: no entity has one in its name.
        **_identified(f"{SCHEMAS}schema/envelope:{SCHEMA_VERSION}", body),
        "examples": [orjson.loads(published(examples[name]).body) for name in shown],
        "$defs": definitions,
    }


def data(name: str, examples: Examples) -> Schema:
    """Return the schema of ``data`` of an entity's messages; ``name`` is a key of ``ENTITY_OF``."""
    body = schema.data(name)
    return {
        **_identified(schema.urn(name), body),
        "examples": list(_data_of(name, examples)),
        "$defs": dict(KINDS),
    }


def _identified(identity: str, body: Schema) -> Schema:
    return {"$schema": DIALECT, "$id": identity, **body}


def _dispatch(name: str) -> Schema:
    return {
        "if": {"properties": {"dataschema": schema.dataschema(name)}, "required": ["dataschema"]},
        "then": {"properties": {"data": {"$ref": f"#/$defs/{name}"}}},
    }


def _data_of(name: str, examples: Examples) -> Iterator[Any]:
    for example in examples.values():
        content = orjson.loads(published(example).body)["data"]
        if schema_of(content["entity"]) == name:
            yield content
