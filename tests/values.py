"""What is made for every event is of final classes: tests compare and vary their attributes."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

_T = TypeVar("_T")


def parts(value: object) -> dict[str, Any]:
    """Return the attributes of a value, and its properties, by name."""
    found = inspect.getmembers(type(value), inspect.isdatadescriptor)
    return {name: getattr(value, name) for name, _ in found if not name.startswith("__")}


def changed(value: _T, **changes: Any) -> _T:
    """Return a copy of a value without properties, with some of its attributes changed."""
    return type(value)(**{**parts(value), **changes})
