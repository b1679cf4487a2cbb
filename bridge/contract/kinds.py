"""The kinds of values that columns have, as schemas.

A schema is true for every message that the bridge can send, and what no rule of normalizing knows
passes unchanged. So a value is what SuperOffice documents, or anything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge.superoffice.catalogue import Kind

Schema = dict[str, Any]

VISIBLE: Final = "^[!-~]*$"
"""Pattern of visible ASCII, which every protocol carries unchanged."""


def _usually(description: str, *usual: Schema) -> Schema:
    """Return the schema of a value that is usually one of these, but may be anything.

    The schema lists all types: from "anything" code generators would make a type without the usual
    ones.
    """
    never = {"null", "boolean", "number"} & {kind["type"] for kind in usual}
    others = [kind for kind in _TYPES if kind not in never]
    unchanged = {"description": "What no rule knows, unchanged.", "type": others}
    return {"description": description, "anyOf": [*usual, unchanged]}


_TYPES: Final = ("null", "boolean", "number", "string", "array", "object")

_LOCAL: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?)?$"

KINDS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "number": _usually("A number: an id, a list item, an enum.", {"type": "integer"}),
        "numeric": _usually(
            "A number that SuperOffice sometimes sends as text; what is no integer stays text.",
            {"type": "integer"},
        ),
        "flag": _usually("A flag.", {"type": "boolean"}),
        "date_time": _usually(
            "A point in time: in UTC, or, without an offset, in the tenant's own time. Null: no"
            " date.",
            {"type": "string", "format": "date-time"},
            {"type": "string", "pattern": _LOCAL},
            {"type": "null"},
        ),
        "mixed": _usually("Sent as more than one type."),
    }
)
"""The schema of each kind of value, by name."""

OF_KIND: Final = {
    Kind.INT: "number",
    Kind.FLAG: "flag",
    Kind.BOOL: "flag",
    Kind.NUMERIC: "numeric",
    Kind.DATE: "date_time",
    Kind.OTHER: "mixed",
}
