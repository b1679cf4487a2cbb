"""Making a document by its name, and encoding it for a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from bridge.contract import asyncapi, jsonschema, openapi
from bridge.contract.examples import Examples
from bridge.settings import Settings

Document = Mapping[str, Any]


def document(name: str, settings: Settings, examples: Examples) -> Document:
    """Return a document, one of ``names.DOCUMENTS``. It shows no secret and no user name."""
    match name:
        case "asyncapi.json":
            return asyncapi.document(settings, examples)
        case "openapi.json":
            return openapi.document(settings, examples)
        case "schemas/envelope.json":
            return jsonschema.envelope(examples)
        case _:
            schema = name.removeprefix("schemas/").removesuffix(".json")
            return jsonschema.data(schema, examples)


def encode(document: Document) -> bytes:
    """Return a document as JSON, the same bytes for the same document."""
    # Some keys are members of a StrEnum, which orjson accepts only with OPT_NON_STR_KEYS.
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, option=options)
