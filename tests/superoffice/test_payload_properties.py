"""Each property of a webhook is used if it is what SuperOffice documents, else kept aside."""

from __future__ import annotations

import pytest

from bridge.superoffice.payload import parse
from tests.superoffice.test_payload import read


@pytest.mark.parametrize(
    ("properties", "key", "left"),
    [
        ({}, 123, {}),
        ({"PrimaryKey": 123}, 123, {}),
        ({"PrimaryKey": "123"}, 123, {}),
        ({"PrimaryKey": 66}, 123, {"PrimaryKey": 66}),
        ({"PrimaryKey": 123.0}, 123, {"PrimaryKey": 123.0}),
        ({"Entity": "webhook"}, 123, {}),
        ({"Entity": "webhook123"}, 123, {"Entity": "webhook123"}),
    ],
)
def test_numbered_webhook(properties, key, left):
    """The number in the name is the key; a PrimaryKey that differs is kept aside."""
    payload = read(Event="webhook123.errors", **properties)

    assert (key, left) == (payload.primary_key, payload.properties)


@pytest.mark.parametrize("other", ["Contact", "list.contact", "", 5, False, ["contact"]])
def test_another_entity(other):
    """The Event decides; an Entity that says something else is kept aside."""
    payload = read(Entity=other)

    assert ("contact", {"Entity": other}) == (payload.entity, payload.properties)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (0, 0),
        (-1, -1),
        (2**64 - 1, 2**64 - 1),
        ("0", 0),
        ("-7", -7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", "9223372036854775808"),
        ("007", "007"),
        ("-0", "-0"),
        ("+7", "+7"),
        (" 7", " 7"),
        ("7\n", "7\n"),
        ("\u0667", "\u0667"),
        ("7.0", "7.0"),
        ("5f0c", "5f0c"),
    ],
)
def test_primary_key(key, expected):
    """Integers and canonical decimals are numbers, any other text is a text key."""
    payload = read(PrimaryKey=key)

    assert (expected, {}) == (payload.primary_key, payload.properties)
    assert type(expected) is type(payload.primary_key)


@pytest.mark.parametrize("key", [True, False, 1.0, 1e30, "", "  ", [1], {"id": 1}])
def test_no_primary_key(key):
    """What cannot be a key is kept aside."""
    payload = read(PrimaryKey=key)

    assert (None, {"PrimaryKey": key}) == (payload.primary_key, payload.properties)


def test_primary_key_beyond_64_bits():
    """The parser makes floats of integers beyond 64 bits, and a float is no key."""
    payload = parse(b'{"Event":"a.b","PrimaryKey":18446744073709551616}')

    assert (None, {"PrimaryKey": 2.0**64}) == (payload.primary_key, payload.properties)


@pytest.mark.parametrize(
    "event_id",
    [
        "0",
        "0000",
        "00000000-0000-0000-0000-000000000000",
        "{00000000-0000-0000-0000-000000000000}",
        "(00000000-0000-0000-0000-000000000000)",
        "0.0",
        "-",
        "a\0b",
        "0b7e5b0c\n",
        "a\x7f",
        "a\x85",
        "\u200b",
        "\ufeff",
        "a\u202eb",
        "\uff10\uff10\uff10",
        "x\ufffey",
        "\U0010ffff",
        "ø" * 100,
        " a ",
    ],
)
def test_trivial_event_id(event_id):
    """What says nothing, and what no attribute may hold, is kept aside."""
    payload = read(EventId=event_id)

    assert (None, {"EventId": event_id}) == (payload.event_id, payload.properties)


@pytest.mark.parametrize("event_id", ["a", "x" * 200, "1", "null", "0x0", "!~a"])
def test_event_id(event_id):
    """Up to 200 visible letters of ASCII are an attribute: whether they identify is not said."""
    assert (event_id, {}) == (read(EventId=event_id).event_id, read(EventId=event_id).properties)


@pytest.mark.parametrize("event_id", ["", " \t", "x" * 201, "ø" * 101, 7, True, ["a"], {}])
def test_no_event_id(event_id):
    """What cannot be an id is kept aside."""
    payload = read(EventId=event_id)

    assert (None, {"EventId": event_id}) == (payload.event_id, payload.properties)


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-03-02T09:15:27Z",
        "2026-03-02T09:15:27.5Z",
        "2026-03-02T09:15:27.12345678901234567890Z",
        "2026-03-02T09:15:27.1234567+01:00",
        "2026-03-02T09:15:27-00:00",
        "2024-02-29T23:59:59-23:59",
        "0001-01-01T00:00:00Z",
    ],
)
def test_timestamp(timestamp):
    """An RFC 3339 date-time of any precision stays as it was written."""
    assert timestamp == read(Timestamp=timestamp).timestamp


@pytest.mark.parametrize(
    "timestamp",
    [
        "2026-03-02T09:15:27",
        "2026-03-02",
        "2026-02-29T09:15:27Z",
        "2026-13-01T09:15:27Z",
        "0000-01-01T00:00:00Z",
        "2026-03-02T24:00:00Z",
        "2026-12-31T23:59:60Z",
        "2026-03-02T09:60:27Z",
        "2026-03-02T09:15:27+24:00",
        "2026-03-02T09:15:27+01",
        "2026-03-02T09:15:27+0100",
        "2026-03-02T09:15:27,5Z",
        "2026-03-02T09:15:27.Z",
        "2026-03-02 09:15:27Z",
        "2026-03-02t09:15:27z",
        "20260302T091527Z",
        "2026-W10-1T09:15:27Z",
        " 2026-03-02T09:15:27Z",
        "2026-03-02T09:15:27Z\n",
        "\uff12026-03-02T09:15:27Z",
        "/Date(1772442927000)/",
        "",
        1772442927,
        True,
        {},
    ],
)
def test_no_timestamp(timestamp):
    """What RFC 3339 does not allow, or no calendar knows, is kept aside."""
    payload = read(Timestamp=timestamp)

    assert (None, {"Timestamp": timestamp}) == (payload.timestamp, payload.properties)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Changes", "contact_id"),
        ("Changes", {"contact_id": 1}),
        ("Changes", ["contact_id", None]),
        ("Changes", ["contact_id", 1]),
        ("Changes", [["contact_id"]]),
        ("Values", [1]),
        ("Values", "x"),
        ("FieldValues", []),
        ("FieldValues", False),
        ("ContextIdentifier", 20001),
        ("ContextIdentifier", ["Cust20001"]),
        ("ChangedByAssociateId", "7"),
        ("ChangedByAssociateId", True),
        ("ChangedByAssociateId", 7.0),
        ("WebhookName", 7),
        ("WebhookName", {}),
    ],
)
def test_wrong_type(name, value):
    """A known property of another type is found untouched under its own name, in its place."""
    payload = read(before=1, **{name: value}, after=2)

    assert [("before", 1), (name, value), ("after", 2)] == list(payload.properties.items())
    assert ([], {}, {}) == (payload.changes, payload.values, payload.field_values)
    assert (None, None) == (payload.context_identifier, payload.webhook_name)
    assert payload.changed_by_associate_id is None


def test_names_are_case_sensitive():
    """A property in another case is an unknown one."""
    payload = read(primarykey=1, CHANGES=[])

    assert (None, {"primarykey": 1, "CHANGES": []}) == (payload.primary_key, payload.properties)
