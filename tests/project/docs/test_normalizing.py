"""docs/reference/message.md shows how names, values and keys come about."""

from __future__ import annotations

import json
import re

import pytest

from bridge.core.routing import render_key
from bridge.superoffice.normalize import snake_case
from tests.project.docs.documents import Row, items, section, span, spans, table
from tests.project.docs.events import delivery, event, normalized, published

PAGE = "reference/message.md"

PROPERTIES = table(PAGE, "Properties")


@pytest.mark.parametrize("row", PROPERTIES, ids=[span(row["Received"]) for row in PROPERTIES])
def test_properties_are_normalized_as_listed(row: Row) -> None:
    """What is received becomes what the page says, and is counted as it says."""
    base = {"Event": "contact.changed", "EventId": "1", "Timestamp": "2026-03-02T09:15:27Z"}
    event_, oddities = normalized(**{**base, **json.loads(span(row["Received"]))})
    shown = json.loads(span(row["In `data`"]))

    assert shown == {name: event_.data[name] for name in shown}
    assert tuple(spans(row["[Counted](metrics.md#labels) as"])) == oddities


NAMES = items(section(PAGE, "Names of columns"))


@pytest.mark.parametrize("received", NAMES)
def test_names_are_normalized_as_listed(received: str) -> None:
    """The spelling of a column becomes that of the page."""
    assert span(NAMES[received]) == snake_case(span(received))


VALUES = table(PAGE, "Values of columns")


@pytest.mark.parametrize("row", VALUES, ids=[span(row["Received"]) for row in VALUES])
def test_values_are_normalized_as_listed(row: Row) -> None:
    """A column becomes what the page says, in both collections."""
    received = json.loads(span(row["Received"]))
    entity = span(row["Column"]) or "contact"
    name = f"{entity}.changed"
    data = normalized(Event=name, FieldValues=received, Values=received)[0].data

    assert span(row["Becomes"]) == json.dumps(data["field_values"])
    assert data["field_values"] == data["values"]


KEYS = table(PAGE, "Names and routing keys")


@pytest.mark.parametrize("row", KEYS, ids=[span(row["`Event`"]) for row in KEYS])
def test_names_become_keys_as_listed(row: Row) -> None:
    """Entity, action, primary key, routing key and type follow from the name."""
    given = event(span(row["`Event`"]))
    message = published(given, delivery(b""))
    key = row["`primary_key`"]

    assert (span(row["`entity`"]), span(row["`action`"])) == (given.entity, given.action)
    assert (4711 if key == "PrimaryKey" else int(span(key))) == given.primary_key
    assert span(row["Routing key"]) == message.routing_key
    assert f"com.superoffice.{message.routing_key}" == message.type


def test_placeholders_become_what_is_listed() -> None:
    """Each placeholder has its value, and what stands for an absent one."""
    full = event("contact.created")
    empty = event("contact", PrimaryKey=None, ContextIdentifier=None)
    listed = items(section(PAGE, "Routing keys of routes"))
    for name, text in ((span(name), text) for name, text in listed.items()):
        value = getattr(full, name.strip("{}"))
        assert str(value).lower() == render_key(name, full)
        for absent in re.findall(r", or `(\w+)`$", text):
            assert absent == render_key(name, empty)
    assert 5 == len(listed)
    assert "contact" == render_key("{entity}.{action}", empty)


TEMPLATES = table(PAGE, "Routing keys of routes")


@pytest.mark.parametrize("row", TEMPLATES, ids=[span(row["Routing key"]) for row in TEMPLATES])
def test_templates_are_filled_as_listed(row: Row) -> None:
    """A template and an event make the key of the page."""
    assert span(row["Routing key"]) == render_key(
        span(row["`routing_key`"]), event(span(row["`Event`"]))
    )
