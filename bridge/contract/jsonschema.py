"""JSON Schema 2020-12 of what leaves: the envelope, and ``data`` of each entity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def envelope() -> dict[str, Any]:
    """Return the schema of any message's body in CloudEvents format."""
    raise NotImplementedError


def schemas() -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Return what makes each schema, by name: ``envelope``, ``contact``, ..."""
    return {"envelope": envelope}
