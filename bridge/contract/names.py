"""The names of the documents and of the schemas, which cost nothing to import.

All that generates a document is loaded when the first one is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from bridge.superoffice.catalogue import ENTITIES, EXTRA_TABLE, LIST, Entity, find

ANY: Final = Entity(
    name="*",
    about="An event that is not in the catalogue, which users of SuperOffice may invent.",
    key=None,
    actions=(),
    fields=MappingProxyType({}),
    fields_on=(),
    changes_on=(),
    values=(),
    notes=MappingProxyType({}),
)
"""Whatever is not in the catalogue: events that users of SuperOffice invent."""

ENTITY_OF: Final[Mapping[str, Entity]] = MappingProxyType(
    {
        **{entity.name: entity for entity in ENTITIES},
        "list": LIST,
        "extra_table": EXTRA_TABLE,
        "any": ANY,
    }
)
"""The entity of each schema of ``data``, by the schema's name, which is that of its file."""


DOCUMENTS: Final = (
    "asyncapi.json",
    "openapi.json",
    "schemas/envelope.json",
    *(f"schemas/{name}.json" for name in ENTITY_OF),
)
"""The paths of all documents: in ``docs/contract``, and in ``/contract`` of the admin listener."""


def schema_of(entity: str) -> str:
    """Return the name of the schema for an entity, however that is spelled."""
    known = find(entity)
    return next((name for name, entity in ENTITY_OF.items() if entity is known), "any")
