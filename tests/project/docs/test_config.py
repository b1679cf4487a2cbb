"""docs/reference/config.md names every key as the model has it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.core.errors import ConfigInvalid
from bridge.settings import Settings, load
from bridge.settings.keys import described, is_list, settable, table_of
from bridge.settings.model import PasswordRef
from tests.project.docs.documents import Row, section, span, spans, table

PAGE = "reference/config.md"
SECRET = {"SUPEROFFICE_SECRET": "s3cret"}
FOLLOWS = "that of `[broker]`"

WORDS = {
    "array": "list",
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "string": "string",
}


def _sections() -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Yield heading, name and model of every section; secrets have no name of their own."""
    for name, field in Settings.model_fields.items():
        model = table_of(field)
        assert model is not None
        yield (f"`[[{name}]]`" if is_list(field) else f"`[{name}]`"), name, model
    yield "Secrets", "", PasswordRef


SECTIONS = list(_sections())
KEYS = [(*place, key) for place in SECTIONS for key in place[2].model_fields]

each_section = pytest.mark.parametrize(
    ("title", "name", "model"), SECTIONS, ids=[title for title, *_ in SECTIONS]
)
each_key = pytest.mark.parametrize(
    ("title", "name", "model", "key"), KEYS, ids=[f"{title}.{key}" for title, *_, key in KEYS]
)


@cache
def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema of the keys of a section."""
    properties: dict[str, Any] = model.model_json_schema(mode="serialization")["properties"]
    return properties


def kind(model: type[BaseModel], key: str) -> str:
    """Return the type of a key in the words of the page."""
    field, shape = model.model_fields[key], schema(model)[key]
    if table_of(field):
        return "list of tables" if is_list(field) else "table"
    shapes = shape.get("anyOf", [shape])
    return next(WORDS[one["type"]] for one in shapes if one["type"] != "null")


def default(key: str, field: FieldInfo) -> Any:
    """Return the default of a key as it could stand in the file."""
    value = field.get_default()
    if key == "urls":  # shown as they are written, without the user name that counts
        return [str(url).replace("guest@", "") for url in value]
    return json.loads(json.dumps(value, default=str))


def shown(cell: str) -> Any:
    """Return the default that the page shows."""
    return None if cell == "none" else tomllib.loads(f"value = {span(cell)}")["value"]


def row_of(title: str, key: str) -> Row:
    """Return the line of a key."""
    [row] = [row for row in table(PAGE, title) if spans(row["Key"])[0] == key]
    return row


@each_section
def test_every_key_has_its_line(title: str, name: str, model: type[BaseModel]) -> None:
    """The table of a section has the keys of the model, in the same order."""
    assert list(model.model_fields) == [spans(row["Key"])[0] for row in table(PAGE, title)]


@each_key
def test_a_line_says_what_the_model_says(
    title: str, name: str, model: type[BaseModel], key: str
) -> None:
    """Type, default and what is allowed are those of the model, and some text explains the key."""
    row, field = row_of(title, key), model.model_fields[key]

    assert (kind(model, key), described(field, item=False)) == (row["Type"], row["Allowed"])
    assert row["What it does, when to change it"].endswith(".")
    if field.is_required():
        assert "required" == row["Default"]
    elif key == "exchange" and name != "broker":
        assert FOLLOWS == row["Default"]
    else:
        assert default(key, field) == shown(row["Default"])


@each_section
def test_every_key_names_its_variable(title: str, name: str, model: type[BaseModel]) -> None:
    """A key has its variable beside it; a list of tables has one for all of it."""
    variables = {"_".join(("BRIDGE", "__".join(path).upper())) for path in settable()}
    beside = [variable for row in table(PAGE, title) for variable in spans(row["Key"])[1:]]
    whole = f"BRIDGE_{name.upper()}"

    if whole in variables:
        assert [] == beside
        assert whole in spans(section(PAGE, title))
    else:
        assert [f"{whole}__{key.upper()}" for key in model.model_fields if name] == beside


def test_routes_and_queues_follow_the_exchange_of_the_broker() -> None:
    """What the page says of their default is so."""
    environ = {
        "BRIDGE_BROKER__EXCHANGE": "crm",
        "BRIDGE_ROUTES": '[{"match": "#"}]',
        "BRIDGE_QUEUES": '[{"name": "q", "bindings": ["#"]}]',
    }
    settings = load(None, SECRET | environ).settings

    assert ("crm", "crm") == (settings.routes[0].exchange, settings.queues[0].exchange)


EXAMPLES = table(PAGE, "Environment variables", number=1)


@pytest.mark.parametrize("row", EXAMPLES, ids=[span(row["Example"]) for row in EXAMPLES])
def test_an_example_of_a_variable_does_what_the_page_says(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sets the key to the value, is an error, or only warns."""
    monkeypatch.chdir(tmp_path)
    name, _, text = span(row["Example"]).partition("=")
    environ = SECRET | {name: text}
    if row["Result"] == "error":
        with pytest.raises(ConfigInvalid):
            load(None, environ)
        return
    loaded = load(None, environ)

    assert (row["Result"] == "warning") == bool(loaded.warnings)
    if row["Result"] != "warning":
        key, value = spans(row["Result"])
        found = loaded.settings.model_dump(mode="json")
        for part in key.split("."):
            found = found[part]
        assert json.loads(value) == found
