"""docs/reference/config.md names every key as the model has it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.core.errors import ConfigInvalid
from bridge.settings import load
from bridge.settings.keys import settable
from tests.project.docs.config import FOLLOWS, HEAD, PAGE, rewritten, sections
from tests.project.docs.documents import Row, document, section, span, spans, table

SECRET = {"SUPEROFFICE_SECRET": "s3cret"}

SECTIONS = list(sections())
KEYS = [(title, key) for title, _, model in SECTIONS for key in model.model_fields]


def row_of(title: str, key: str) -> Row:
    """Return the line of a key."""
    [row] = [row for row in table(PAGE, title) if spans(row["Key"])[0] == key]
    return row


def test_the_tables_are_those_of_the_model() -> None:
    """Keys, variables, defaults and what is allowed are what the bridge goes by."""
    page = document(PAGE)

    assert rewritten(page) == page, "run make docs"


def test_a_key_that_the_page_lacks_gets_a_line() -> None:
    """A key of the model comes into the table, and a key that is gone leaves it."""
    page = document(PAGE).replace("| `port`<br>`BRIDGE_SERVER__PORT` |", "| `prot` |")
    made = rewritten(page)

    assert "prot" not in made
    assert "| `port`<br>`BRIDGE_SERVER__PORT` | `8080`<br>a whole number from 0" in made


@pytest.mark.parametrize(("title", "key"), KEYS)
def test_a_line_explains_the_key(title: str, key: str) -> None:
    """What the key does is written by hand, as a sentence."""
    assert row_of(title, key)[HEAD[-1]].endswith(".")


@pytest.mark.parametrize(("title", "key"), KEYS)
def test_a_default_can_be_copied_into_the_file(title: str, key: str) -> None:
    """It is a value of TOML, or one of three phrases."""
    cell = row_of(title, key)[HEAD[1]].partition("<br>")[0]

    assert cell in ("none", "required", FOLLOWS) or tomllib.loads(f"value = {span(cell)}")


@pytest.mark.parametrize(
    ("title", "name", "model"), SECTIONS, ids=[title for title, *_ in SECTIONS]
)
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


EXAMPLES = table(PAGE, "Environment variables")


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
