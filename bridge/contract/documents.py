"""The one list of all documents, and their form in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from bridge.contract import asyncapi, jsonschema, openapi
from bridge.contract.deployment import Deployment

Document = Mapping[str, Any]


def documents(deployment: Deployment) -> Mapping[str, Callable[[], Document]]:
    """Return what makes each document, by its path: ``asyncapi.json``, ``schemas/contact.json``.

    They are made one at a time, when they are asked for.
    """
    schemas = jsonschema.schemas(deployment.examples)
    names = ["asyncapi.json", "openapi.json", *(f"schemas/{name}.json" for name in schemas)]
    return {
        "asyncapi.json": partial(asyncapi.document, deployment),
        "openapi.json": partial(openapi.document, deployment, names),
        **{f"schemas/{name}.json": make for name, make in schemas.items()},
    }


def encode(document: Document) -> bytes:
    """Return a document as JSON, the same bytes for the same document."""
    # Keys may be members of an enum of texts, which orjson takes for no strings.
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    return orjson.dumps(document, option=options)
