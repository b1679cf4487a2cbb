"""Looking up the keys of the configuration by their place in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.settings.model import Settings, WrittenAs

Loc = tuple[str | int, ...]
"""The place of a value: ``("endpoints", 0, "path")``."""

Names = tuple[str, ...]
"""The place of a key, without indexes: ``("endpoints", "path")``."""

Table = type[BaseModel]


def dotted(loc: Loc) -> str:
    """Return a place as people write it: ``endpoints[0].path``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return "".join(parts).removeprefix(".")


def is_list(field: FieldInfo) -> bool:
    """Return whether the key holds a list."""
    return get_origin(field.annotation) is tuple


def table_of(field: FieldInfo) -> Table | None:
    """Return the model of the table that a key holds, or of each table in its list."""
    if mark := _mark(field):
        return mark.reference
    held = next(iter(get_args(field.annotation)), field.annotation)
    return held if isinstance(held, type) and issubclass(held, BaseModel) else None


def _mark(field: FieldInfo) -> WrittenAs | None:
    return next((mark for mark in field.metadata if isinstance(mark, WrittenAs)), None)


def table_at(names: Sequence[str]) -> Table | None:
    """Return the model of the table at a place, or None if there is no such table."""
    table: Table | None = Settings
    for name in names:
        field = table.model_fields.get(name) if table else None
        table = table_of(field) if field else None
    return table


def field_at(names: Sequence[str]) -> FieldInfo | None:
    """Return the key at a place, or None if there is no such key."""
    table = table_at(names[:-1])
    return table.model_fields.get(names[-1]) if table and names else None


def described(field: FieldInfo, *, item: bool) -> str | None:
    """Return the description of what is allowed for a key, or for an item of its list."""
    if item and is_list(field):
        held = get_args(field.annotation)[0]
        marks = (mark for mark in get_args(held)[1:] if isinstance(mark, FieldInfo))
        return next((mark.description for mark in marks), None)
    return field.description


def tables(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each table of a list with its index. The value is not validated: it may be no list."""
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, dict):
            yield index, item


@cache
def settable() -> tuple[Names, ...]:
    """Return the places that environment variables can set. A list is only set as a whole."""
    return tuple(_settable(Settings, ()))


def _settable(table: Table, at: Names) -> Iterator[Names]:
    for name, field in table.model_fields.items():
        held = table_of(field)
        if held is None or is_list(field) or _mark(field):
            yield (*at, name)
        if held and not is_list(field):
            yield from _settable(held, (*at, name))


def unknown(name: str, known: Iterable[str]) -> str:
    """Return the message for an unknown key, with the key that was probably meant."""
    names = list(known)
    others = f"; known here: {', '.join(names)}" if names else ""
    return f"unknown key{probably(name, names) or others}"


def probably(name: str, known: Sequence[str], *, likeness: float = 0.6) -> str:
    """Return ``; did you mean ...?`` with the closest known name; empty if none is close."""
    close = get_close_matches(name, known, n=1, cutoff=likeness)
    return f"; did you mean {close[0]}?" if close else ""
