"""The bytes of a webhook become typed properties, and nothing is lost on the way."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.errors import PayloadInvalid
from bridge.core.event import Payload
from bridge.superoffice.payload import integer, parse, split_event
from tests.values import parts

KNOWN = (
    *("EventId", "Timestamp", "Entity", "PrimaryKey", "Changes", "Values", "FieldValues"),
    *("ContextIdentifier", "ChangedByAssociateId", "WebhookName"),
)


def read(**properties: Any) -> Payload:
    """Parse a body with these properties; it is a contact.created unless told otherwise."""
    return parse(orjson.dumps({"Event": "contact.created"} | properties))


def reason(body: bytes) -> str:
    """Return why a body is not a webhook."""
    with pytest.raises(PayloadInvalid) as caught:
        parse(body)
    return caught.value.reason


def test_every_property():
    """All properties that SuperOffice documents become typed, the rest stays in order."""
    payload = read(
        zulu=[1, {"inner": None}],
        EventId="0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
        Timestamp="2026-03-02T09:15:27.1234567Z",
        Changes=["contact_id", "orgNr", "orgNr"],
        Entity="contact",
        PrimaryKey=4711,
        Values={"contact_id": 4711},
        FieldValues={"deleted": 0},
        ContextIdentifier="Cust20001",
        alpha=None,
        ChangedByAssociateId=7,
        WebhookName="crm-sync",
    )

    assert dict(
        event="contact.created",
        entity="contact",
        action="created",
        event_id="0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
        timestamp="2026-03-02T09:15:27.1234567Z",
        primary_key=4711,
        context_identifier="Cust20001",
        changed_by_associate_id=7,
        webhook_name="crm-sync",
        changes=["contact_id", "orgNr", "orgNr"],
        values={"contact_id": 4711},
        field_values={"deleted": 0},
        properties={"zulu": [1, {"inner": None}], "alpha": None},
    ) == parts(payload)
    assert ["zulu", "alpha"] == list(payload.properties)


@pytest.mark.parametrize("given", [(), KNOWN], ids=["absent", "null"])
def test_only_the_event_is_needed(given):
    """Everything else may be absent or null, and null leaves nothing behind."""
    expected: dict[str, Any] = dict(
        event="contact.created",
        entity="contact",
        action="created",
        event_id=None,
        timestamp=None,
        primary_key=None,
        context_identifier=None,
        changed_by_associate_id=None,
        webhook_name=None,
        changes=[],
        values={},
        field_values={},
        properties={},
    )

    assert expected == parts(read(**dict.fromkeys(given)))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\xff{}", "not_utf8"),
        (b'{"Event":"a.b","x":"\xc3\x28"}', "not_utf8"),
        (b'{"Event":"a.b","x":"\xed\xa0\x80"}', "not_utf8"),
        ('{"Event":"a.b"}'.encode("utf-16"), "not_utf8"),
        (b"", "not_json"),
        (b"   ", "not_json"),
        (b"Event=a.b", "not_json"),
        (b'{"Event":"a.b",}', "not_json"),
        (b'{"Event":"a.b"}{}', "not_json"),
        (b'{"Event":"a.b","x":NaN}', "not_json"),
        (b'{"Event":"a.b","x":1e999}', "not_json"),
        (b'{"Event":"a.b","x":"\\ud800"}', "not_json"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"Event":"a.b"}', "not_json"),
        (b"[]", "not_object"),
        (b'[{"Event":"a.b"}]', "not_object"),
        (b"null", "not_object"),
        (b'"Event"', "not_object"),
        (b"{}", "no_event"),
        (b'{"event":"a.b"}', "no_event"),
        (b'{"Event":null}', "no_event"),
        (b'{"Event":""}', "no_event"),
        (b'{"Event":" \\t\\n "}', "no_event"),
        (b'{"Event":7}', "no_event"),
        (b'{"Event":["a.b"]}', "no_event"),
        (b'{"Event":"a.b","Event":null}', "no_event"),
    ],
)
def test_not_a_webhook(body, expected):
    """A body that is not a webhook is named by the first thing that is wrong with it."""
    assert expected == reason(body)


def nested(levels: int) -> bytes:
    """Return a webhook with a custom property of this many levels."""
    return b'{"Event":"a.b","x":' + b'{"y":' * levels + b"[]" + b"}" * levels + b"}"


@pytest.mark.parametrize("levels", [249, 1000, 100_000])
def test_too_deep(levels):
    """Nesting that could be read but not written again is not accepted, and never crashes."""
    assert "not_json" == reason(nested(levels))


def test_deep_enough():
    """What is accepted can still be written two levels further down, as the message does."""
    payload = parse(nested(248))

    assert orjson.dumps({"data": {"properties": payload.properties}})


@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_depth_is_counted_in_small_bodies(bracket):
    """Few bytes are enough for a level too many: two for each."""
    opening, closing = ('{"":' if bracket == "{}" else "["), bracket[1]
    inner = {level: opening * level + "1" + closing * level for level in (249, 250)}

    assert parse(f'{{"Event":"a.b","x":{inner[249]}}}'.encode()).properties["x"]
    assert "not_json" == reason(f'{{"Event":"a.b","x":{inner[250]}}}'.encode())


def test_many_brackets_are_not_depth():
    """A long flat list is not mistaken for a deep one."""
    assert 1000 == len(read(x=[[]] * 1000).properties["x"])


def test_byte_order_mark():
    """One leading byte order mark is ignored, as RFC 8259 allows."""
    assert "a.b" == parse(b'\xef\xbb\xbf{"Event":"a.b"}').event


def test_duplicate_keys():
    """Of a property that is given twice, the last counts."""
    assert 2 == parse(b'{"Event":"a.b","PrimaryKey":1,"PrimaryKey":2}').primary_key


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("contact.created", ("contact", "created", None)),
        ("list.category.created", ("list.category", "created", None)),
        ("list.110.softdeleted", ("list.110", "softdeleted", None)),
        ("y_rental.changed", ("y_rental", "changed", None)),
        ("Contact.Created", ("Contact", "Created", None)),
        ("test", ("test", "", None)),
        ("a.", ("a", "", None)),
        (".b", ("", "b", None)),
        ("..", (".", "", None)),
        (" a . b ", (" a ", " b ", None)),
        ("webhook.errors", ("webhook", "errors", None)),
        ("webhook123.errors", ("webhook", "errors", 123)),
        ("Webhook123.Errors", ("Webhook", "Errors", 123)),
        ("webhook0.started", ("webhook", "started", 0)),
        ("webhook9223372036854775807.started", ("webhook", "started", 2**63 - 1)),
        ("webhook9223372036854775808.started", ("webhook9223372036854775808", "started", None)),
        ("webhook007.errors", ("webhook007", "errors", None)),
        ("webhook-1.errors", ("webhook-1", "errors", None)),
        ("webhook\uff11\uff12.errors", ("webhook\uff11\uff12", "errors", None)),
        ("webhoo\u212a12.errors", ("webhoo\u212a12", "errors", None)),
        ("webhook123", ("webhook123", "", None)),
        ("webhook123.", ("webhook123", "", None)),
        ("my.webhook123.errors", ("my.webhook123", "errors", None)),
        ("webhook123.a.b", ("webhook123.a", "b", None)),
    ],
)
def test_split_event(event, expected):
    """A name is split at its last dot; state events carry the number of their webhook."""
    assert expected == split_event(event)


def test_integer():
    """Only the spelling that an integer has in JSON is one."""
    assert 7 == integer("7")
    assert integer("7" * 5000) is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)


@settings(database=None, deadline=None)
@given(st.binary(max_size=99) | st.text(max_size=99).map(str.encode))
def test_any_bytes(body):
    """Whatever the bytes, they are a webhook or it is said why they are not."""
    with contextlib.suppress(PayloadInvalid):
        parse(body)


@settings(database=None, deadline=None)
@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=9), JSON))
def test_nothing_is_lost(properties):
    """A property is typed, or null, or found as it was under its own name."""
    payload = read(**properties | {"Event": "contact.created"})

    gone = [name for name in properties if name not in payload.properties and name != "Event"]
    assert set(KNOWN) >= set(gone)
    for name, value in payload.properties.items():
        assert properties[name] == value
