"""The schemas are valid, true for every message, and false for what no message is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contract import jsonschema
from bridge.contract.names import DOCUMENTS, ENTITY_OF, schema_of
from bridge.core.message import (
    event_message,
    parked_message,
    refused_message,
    unrouted_message,
)
from bridge.core.reasons import Undelivered, Unreadable
from bridge.core.routing import Target
from bridge.spool.rowcodec import row_of
from bridge.superoffice.catalogue import ENTITIES, LIST_NAMES
from bridge.superoffice.names import source_uri
from tests.contract.generated import SAMPLES, examples
from tests.contract.validation import check_message, errors, validator
from tests.strategies.webhooks import delivered, deliveries

EXAMPLES = examples()
SCHEMAS = {
    "envelope": jsonschema.envelope(EXAMPLES),
    **{name: jsonschema.data(name, EXAMPLES) for name in ENTITY_OF},
}
TIME = "2026-03-02T09:15:27.5Z"


def sent(message: Any) -> None:
    """Hold a message to the contract, with the properties that its frames have."""
    properties = {
        "content_type": message.content_type,
        "delivery_mode": 2,
        "message_id": message.message_id,
        "timestamp": message.timestamp,
        "type": message.type,
        "app_id": "superoffice-bridge",
    }
    check_message(properties, message.headers, message.body)


def contact() -> Any:
    """Return the golden contact.created as a consumer reads it."""
    [envelope] = SCHEMAS["envelope"]["examples"]
    return copy.deepcopy(envelope)


@pytest.mark.parametrize("name", SCHEMAS)
class TestSchema:
    """Each of the files."""

    def test_dialect(self, name):
        """It says which dialect it is in, and is valid there."""
        assert "https://json-schema.org/draft/2020-12/schema" == SCHEMAS[name]["$schema"]
        jsonschema_rs.meta.validate(SCHEMAS[name])

    def test_references_stay_in_the_file(self, name):
        """It is complete, wherever it was fetched from."""
        text = orjson.dumps(SCHEMAS[name]).decode()
        references = {part.split('"')[0] for part in text.split('"$ref":"')[1:]}

        assert references <= {f"#/$defs/{kind}" for kind in SCHEMAS[name]["$defs"]}

    def test_examples(self, name):
        """Each has examples, and they are what it describes."""
        checked = validator(SCHEMAS[name])

        assert SCHEMAS[name]["examples"]
        for shown in SCHEMAS[name]["examples"]:
            assert [] == errors(checked, shown)


def test_ids():
    """The schema of a plain entity has the name that its messages give; all names differ."""
    ids = [schema["$id"] for schema in SCHEMAS.values()]

    assert len(set(ids)) == len(ids)
    for entity in ENTITIES:
        assert f"urn:superoffice-bridge:{entity.name}:1" == SCHEMAS[entity.name]["$id"]


def test_every_entity_has_its_schema():
    """Those of the catalogue by name, in any case; lists and tables share one; the rest another."""
    assert {entity.name: entity.name for entity in ENTITIES} == {
        entity.name: schema_of(entity.name.upper()) for entity in ENTITIES
    }
    assert {"list"} == {schema_of(f"list.{name}") for name in (*LIST_NAMES, "110")}
    assert ("extra_table", "any", "any") == tuple(map(schema_of, ("y_rental", "Window", "")))
    assert {f"schemas/{name}.json" for name in SCHEMAS} == set(DOCUMENTS[2:])


@given(delivered(), st.booleans())
def test_the_contract_is_true_for_every_message(pair, raw):
    """Whatever was delivered: body, headers and properties are as described, with nothing more."""
    delivery, event = pair
    target = Target("superoffice", "a.b", raw)
    source = source_uri(event.context)
    message = event_message(event, delivery=delivery, target=target, source=source)

    sent(message)
    sent(unrouted_message(message))
    for reason in Undelivered:
        sent(refused_message(message, reason=reason, time=TIME))


@given(delivered())
def test_the_schema_of_the_entity_is_true(pair):
    """``data`` by itself is what the schema of its entity says."""
    _, event = pair

    assert [] == errors(VALIDATORS[schema_of(event.entity)], json.loads(orjson.dumps(event.data)))


VALIDATORS = {name: validator(schema) for name, schema in SCHEMAS.items()}


@given(deliveries(body=st.binary(max_size=99)), st.sampled_from(Unreadable))
def test_the_contract_is_true_for_what_is_parked(delivery, reason):
    """Whatever the bytes were."""
    sent(parked_message(delivery, reason=reason, time=TIME))


@pytest.mark.parametrize("message_id", ["event-1", "", None, 5])
def test_the_contract_is_true_for_what_is_left_of_a_damaged_row(message_id):
    """Even where its id is lost."""
    row = row_of((1, 0, 100, 0, "superoffice", "contact.created", message_id, b"{", b"half a bo"))

    assert row.unreadable
    sent(refused_message(row.message, reason=Undelivered.SPOOL_UNREADABLE, time=TIME))


GOLDEN = sorted(SAMPLES.glob("*/expected.json"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.parent.name)
def test_golden_events_are_as_described(path):
    """What was written down by hand as expected, odd ones among it."""
    expected = json.loads(path.read_text("utf-8"))

    assert [] == errors(VALIDATORS[schema_of(expected["entity"])], expected["data"])


def broken() -> Iterator[tuple[str, Any]]:
    """Yield messages that break the contract, with what is wrong about them."""
    for member in contact():
        yield f"without {member}", {k: v for k, v in contact().items() if k != member}
    for member in contact()["data"]:
        data = {k: v for k, v in contact()["data"].items() if k != member}
        yield f"data without {member}", {**contact(), "data": data}
    for member, value in {
        "specversion": "0.3",
        "id": "",
        "source": "no reference",
        "type": "com.example.contact.created",
        "subject": "contact",
        "time": "2026-03-02 09:15",
        "datacontenttype": "text/plain",
        "dataschema": "urn:superoffice-bridge:contact:2",
        "eventid": "",
        "data": [],
    }.items():
        yield f"{member} is {value}", {**contact(), member: value}
    for member in ("id", "source", "eventid"):
        for evil in ("\0", "a\nb", "\x7f", "\x85", "\u200b", "\ufffe", "\U0010ffff", "ø", "a b"):
            yield f"{member} is {evil!a}", {**contact(), member: evil}
    wrong: dict[str, Any] = {
        "event": 5,
        "entity": "person",
        "action": None,
        "primary_key": 1.5,
        "context_identifier": 5,
        "changed_by_associate_id": "7",
        "webhook_name": False,
        "changes": ["name", 5],
        "field_values": [],
        "values": None,
        "properties": None,
    }
    for member, value in wrong.items():
        yield f"{member} is {value}", {**contact(), "data": {**contact()["data"], member: value}}


@pytest.mark.parametrize("message", [pytest.param(m, id=what) for what, m in broken()])
def test_what_is_no_message_is_refused(message):
    """Each member is needed and checked; ``subject`` and ``eventid`` may be absent."""
    found = errors(VALIDATORS["envelope"], message)

    assert bool(found) == ({"subject", "eventid"} <= message.keys())


def test_what_a_column_usually_is():
    """Of each kind the usual type comes first, for generators of code."""
    columns = SCHEMAS["contact"]["properties"]["field_values"]["properties"]
    kinds = SCHEMAS["contact"]["$defs"]
    usual = {
        name: kinds[column["$ref"].removeprefix("#/$defs/")]["anyOf"][0]["type"]
        for name, column in columns.items()
    }

    assert ("boolean", "string", "integer") == (
        usual["deleted"],
        usual["deleted_date"],
        usual["associate_id"],
    )
