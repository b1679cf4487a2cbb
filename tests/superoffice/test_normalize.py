"""One consistent shape out of SuperOffice's many, and never a changed meaning."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.event import Delivery, Event
from bridge.superoffice import normalize as module
from bridge.superoffice.normalize import ODDITIES, Normalized, normalize, snake_case
from bridge.superoffice.payload import parse
from tests.values import parts

RECEIVED_NS = 1_772_442_927_123_456_789  # 2026-03-02T09:15:27.123456789Z


def normal(body: bytes, **headers: str) -> Normalized:
    """Parse and normalize a body as it comes."""
    delivery = Delivery(endpoint="superoffice", body=body, received_ns=RECEIVED_NS, **headers)  # type: ignore[arg-type]
    return normalize(parse(body), delivery=delivery)


def event_of(event: str, **properties: Any) -> Event:
    """Return the normal form of an event with these properties."""
    return normal(orjson.dumps({"Event": event} | properties))[0]


def fields(entity: str, **columns: Any) -> Any:
    """Return the normal form of these FieldValues, which must be that of these Values too."""
    data = event_of(f"{entity}.changed", FieldValues=columns, Values=columns).data
    assert data["field_values"] == data["values"]
    return data["field_values"]


def test_the_designed_example():
    """The whole event, its members in the promised order."""
    body = orjson.dumps(
        {
            "EventId": "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
            "Timestamp": "2026-03-02T09:15:27.1234567Z",
            "Changes": ["contact_id", "orgNr", "updatedCount"],
            "Event": "contact.created",
            "PrimaryKey": 4711,
            "Entity": "contact",
            "ContextIdentifier": "Cust20001",
            "ChangedByAssociateId": 7,
            "WebhookName": "crm-sync",
            "FieldValues": {
                "activeInterests": 0,
                "business_idx": 2,
                "deleted": 0,
                "DeletedDate": "0001-01-01T00:00:00",
                "registered": "2026-03-02T10:15:27",
                "updated": "2026-03-02T10:15:27.1234567+01:00",
            },
        }
    )
    data = (
        '{"event":"contact.created","entity":"contact","action":"created","primary_key":4711,'
        '"context_identifier":"Cust20001","changed_by_associate_id":7,"webhook_name":"crm-sync",'
        '"changes":["contact_id","org_nr","updated_count"],'
        '"field_values":{"active_interests":0,"business_idx":2,"deleted":false,'
        '"deleted_date":null,"registered":"2026-03-02T10:15:27",'
        '"updated":"2026-03-02T09:15:27.1234567Z"},"values":{},"properties":{}}'
    )

    event, oddities = normal(body)

    assert dict(
        id="0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11.5ae6e8a8cf0e6d880dcf24dd297256c1",
        event_id="0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
        name="contact.created",
        entity="contact",
        action="created",
        primary_key=4711,
        context="Cust20001",
        endpoint="superoffice",
        time="2026-03-02T09:15:27.1234567Z",
        type="com.superoffice.contact.created",
        record=("superoffice", "Cust20001", "contact", 4711),
        data=orjson.loads(data),
    ) == parts(event)
    assert data == orjson.dumps(event.data).decode()
    assert () == oddities


def test_the_least_event():
    """What the body does not say is null or empty; id and time are made up for it."""
    body = b'{"Event":"test"}'

    event, oddities = normal(body)

    assert event.id.startswith(f"sha256-{hashlib.sha256(body).hexdigest()}.")
    assert event.event_id is None
    assert "2026-03-02T09:15:27.123456Z" == event.time
    assert event.record is None
    assert {
        "event": "test",
        "entity": "test",
        "action": "",
        "primary_key": None,
        "context_identifier": None,
        "changed_by_associate_id": None,
        "webhook_name": None,
        "changes": [],
        "field_values": {},
        "values": {},
        "properties": {},
    } == event.data
    assert ("no_event_id", "no_timestamp") == oddities


@pytest.mark.parametrize(
    ("received_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_772_442_927_000_001_999, "2026-03-02T09:15:27.000001Z"),
    ],
)
def test_time_of_receipt(received_ns, expected):
    """The receipt is the time of an event without one, always with six digits."""
    body = b'{"Event":"a.b","Timestamp":"soon"}'
    delivery = Delivery(endpoint="x", body=body, received_ns=received_ns)

    assert expected == normalize(parse(body), delivery=delivery)[0].time


def test_record_without_context():
    """A record is told apart by endpoint, context, entity and key, and the context may lack."""
    record = event_of("y_rental.changed", PrimaryKey="A-7").record

    assert ("superoffice", None, "y_rental", "A-7") == record


def test_record_in_any_case():
    """However an event is written, it is of one record; what consumers see stays as it came."""
    changed = event_of("Contact.Changed", PrimaryKey=7)

    assert changed.record == event_of("contact.deleted", PrimaryKey=7).record
    assert "Contact" == changed.entity


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("contact_id", "contact_id"),
        ("DeletedDate", "deleted_date"),
        ("orgNr", "org_nr"),
        ("reasonSold_id", "reason_sold_id"),
        ("saleTypeCat_id", "sale_type_cat_id"),
        ("UDListDefinition_id", "ud_list_definition_id"),
        ("tzLocationId", "tz_location_id"),
        ("preferredTZLocation", "preferred_tz_location"),
        ("ChatbotIsactive", "chatbot_isactive"),
        ("userdef2_id", "userdef2_id"),
        ("post2Code", "post2_code"),
        ("HTML", "html"),
        ("chatSession.topicId", "chat_session.topic_id"),
        ("x_Ålesund", "x_Ålesund"),
        ("ØreÆrlig", "ØreÆrlig"),
        ("İD", "İd"),
        ("a-B c", "a-b c"),
        ("", ""),
    ],
)
def test_snake_case(name, expected):
    """Names become snake_case in ASCII, and stay so."""
    assert expected == snake_case(name)
    assert expected == snake_case(expected)


def test_names_everywhere():
    """Names become snake_case in all three collections, of unknown entities too."""
    columns = {"someName": {"innerName": 1}, "x": ["Y"]}

    data = event_of("foo.bar", Changes=["UpdatedCount", "x", "x"], Values=columns).data

    assert ["updated_count", "x", "x"] == data["changes"]
    assert {"some_name": {"innerName": 1}, "x": ["Y"]} == data["values"]


def test_properties_stay():
    """Custom properties pass untouched."""
    custom: Any = {"MyProp": {"DeletedDate": "0001-01-01T00:00:00", "code": "[I:6]"}}

    assert custom == event_of("contact.changed", **custom).data["properties"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"orgNr": 1, "OrgNr": 2}, {"org_nr": 1, "OrgNr": 2}),
        ({"org_nr": 1, "orgNr": 2}, {"org_nr": 1, "orgNr": 2}),
        ({"orgNr": 1, "org_nr": 2}, {"orgNr": 1, "org_nr": 2}),
        ({"aB": 1, "x": 0, "AB": 2, "a_b": 3}, {"aB": 1, "x": 0, "ab": 2, "a_b": 3}),
        ({"OrgNr": 1, "orgNr": 2, "org_nr": 3}, {"OrgNr": 1, "orgNr": 2, "org_nr": 3}),
        (
            {"deleted": 1, "Deleted": 0, "registered": "x", "userDef": 1},
            {"deleted": True, "Deleted": False, "registered": "x", "user_def": 1},
        ),
    ],
)
def test_names_that_become_equal(columns, expected):
    """The later name keeps its spelling, so that no value is lost; both mean what they meant."""
    body = orjson.dumps({"Event": "contact.changed", "FieldValues": columns})

    event, oddities = normal(body)

    assert orjson.dumps(expected) == orjson.dumps(event.data["field_values"])
    assert "name_collision" in oddities


def test_collision_in_values():
    """Names that become equal in Values are told as well."""
    assert "name_collision" in normal(b'{"Event":"a.b","Values":{"aB":1,"a_b":2}}')[1]


def test_names_do_not_fill_the_memory():
    """Names that anybody invents are not remembered for ever."""
    names = [f"inventedName{number}" for number in range(6000)]

    data = event_of("foo.bar", Changes=[*names, "veryLong" * 999]).data

    assert "invented_name5999" == data["changes"][5999]
    assert 4096 >= len(module._SNAKE)
    assert 64 >= max(map(len, module._SNAKE))


def test_usual_headers():
    """Nothing is odd when headers say what the body says, or nothing."""
    body = b'{"Event":"a.b","EventId":"7","Timestamp":"2026-03-02T09:15:27Z"}'

    assert () == normal(body)[1]
    assert () == normal(body, header_event="a.b", header_event_id="7")[1]


@pytest.mark.parametrize(
    ("properties", "headers", "expected"),
    [
        ({}, {"header_event": "a.B"}, "header_event_differs"),
        ({}, {"header_event": ""}, "header_event_differs"),
        ({}, {"header_event_id": "8"}, "header_event_id_differs"),
        ({"EventId": None}, {"header_event_id": "8"}, "no_event_id"),
        ({"EventId": 7}, {}, "no_event_id"),
        ({"Timestamp": "soon"}, {}, "no_timestamp"),
        ({"Entity": "b"}, {}, "entity_unused"),
        ({"PrimaryKey": 1.5}, {}, "primary_key_unused"),
        ({"ContextIdentifier": 1}, {}, "context_identifier_unused"),
        ({"ChangedByAssociateId": "1"}, {}, "changed_by_associate_id_unused"),
        ({"WebhookName": 1}, {}, "webhook_name_unused"),
        ({"Changes": "a"}, {}, "changes_unused"),
        ({"Values": []}, {}, "values_unused"),
        ({"FieldValues": []}, {}, "field_values_unused"),
        ({"FieldValues": {"aB": 1, "AB": 2, "a_b": 3}}, {}, "name_collision"),
    ],
)
def test_oddities(properties, headers, expected):
    """What is odd about a delivery is told, in words from a fixed list, and refused by nobody."""
    body = {"Event": "a.b", "EventId": "7", "Timestamp": "2026-03-02T09:15:27Z"} | properties

    assert (expected,) == normal(orjson.dumps(body), **headers)[1]
    assert expected in ODDITIES


JSON = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=9)
NAMES = st.sampled_from(["deleted", "Deleted", "updated", "DeletedDate", "deleted_date", "aB"])
ENTITY = st.sampled_from(["contact", "y_rental", "chatsession", "custom"])


@settings(database=None, deadline=None)
@given(ENTITY, st.dictionaries(NAMES | st.text(max_size=9), JSON))
def test_any_fields(entity, columns):
    """Whatever the columns, there is a normal form with as many of them, and it can be written."""
    event, oddities = normal(orjson.dumps({"Event": f"{entity}.x", "FieldValues": columns}))

    assert len(columns) == len(event.data["field_values"])
    assert orjson.loads(orjson.dumps(event.data)) == event.data
    assert set(ODDITIES) >= set(oddities)
