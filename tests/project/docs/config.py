"""The tables of docs/reference/config.md: every column but the last is made from the model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import partial

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.settings import Settings
from bridge.settings.keys import described, is_list, table_of
from bridge.settings.model import PasswordRef
from tests.project.docs.documents import DOCS, spans, tables

PAGE = "reference/config.md"
HEAD = ("Key", "Default, then what is allowed", "What it does")

FOLLOWS = "that of `[broker]`"
"""The default of ``exchange`` in a route and in a queue."""

ESCAPED = r"\|"
"""A bar within a cell."""


def sections() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Yield heading, name and model of every section; secrets have no name of their own."""
    for name, field in Settings.model_fields.items():
        model = table_of(field)
        assert model is not None
        yield (f"`[[{name}]]`" if is_list(field) else f"`[{name}]`"), name, model
    yield "Secrets", "", PasswordRef


def write() -> None:
    """Write the tables into the page; the last column stays as it is."""
    path = DOCS / PAGE
    path.write_text(rewritten(path.read_text("utf-8")), "utf-8")


def rewritten(page: str) -> str:
    """Return the page with each table made from the model."""
    for title, name, model in sections():
        pattern = rf"(^## {re.escape(title)}$.*?)(^\| {HEAD[0]} \|.*?\n)(?=\n|\Z)"
        made = partial(_section, name, model)
        page, times = re.subn(pattern, made, page, count=1, flags=re.MULTILINE | re.DOTALL)
        assert times, f"{PAGE} has no table in {title}"
    return page


def _section(name: str, model: type[BaseModel], found: re.Match[str]) -> str:
    [old] = tables(found[2])
    texts = {spans(row[HEAD[0]])[0]: row[HEAD[-1]] for row in old}
    return found[1] + "".join(f"{line}\n" for line in _table(name, model, texts))


def _table(name: str, model: type[BaseModel], texts: Mapping[str, str]) -> Iterator[str]:
    yield _line(HEAD)
    yield "|---" * len(HEAD) + "|"
    for key, field in model.model_fields.items():
        values = f"{default(name, key, field)}<br>{allowed(field)}"
        yield _line((key_of(name, key), values, texts.get(key, "")))


def _line(cells: tuple[str, str, str]) -> str:
    return f"| {' | '.join(cell.replace('|', ESCAPED) for cell in cells)} |"


def key_of(name: str, key: str) -> str:
    """Return a key, and the variable that sets it if there is one."""
    is_table = name and not is_list(Settings.model_fields[name])
    variable = f"BRIDGE_{name}__{key}".upper()
    return f"`{key}`<br>`{variable}`" if is_table else f"`{key}`"


def allowed(field: FieldInfo) -> str:
    """Return what a key takes, without the reason, which stands after a semicolon."""
    return (described(field, item=False) or "").partition("; ")[0]


def default(name: str, key: str, field: FieldInfo) -> str:
    """Return the default of a key as it could stand in the file."""
    if field.is_required():
        return "required"
    if key == "exchange" and name != "broker":
        return FOLLOWS
    value = field.get_default()
    if value is None:
        return "none"
    if key == "urls":  # shown as they are written, without the user name that counts
        value = [str(url).replace("guest@", "") for url in value]
    is_long = isinstance(value, int) and value > 65_535  # no port
    return f"`{value:_}`" if is_long else f"`{json.dumps(value, default=str)}`"
