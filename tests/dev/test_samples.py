"""Requests as they come and events as they go: stored ones, and those that the bridge makes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.core.event import Delivery
from bridge.dev.samples import encode, known_events, request_headers, sample
from bridge.superoffice.catalogue import ENTITIES, LIST_NAMES
from bridge.superoffice.datetimes import is_date_time
from bridge.superoffice.headers import SIGNATURE
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from bridge.superoffice.signature import sign, verify

GOLDEN = sorted(path.parent for path in (Path(__file__).parents[1] / "samples").glob("*/body.json"))
NOW = datetime(2026, 3, 2, 9, 15, 27, 123456, tzinfo=UTC)


def load(path: Path) -> Any:
    """Return a JSON file."""
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
class TestGolden:
    """``request.json`` and the bytes of ``body.json`` came in, ``expected.json`` goes out.

    The expected events were written down by hand from what SuperOffice documents, the signatures
    made with openssl.
    """

    def test_signature(self, folder):
        """The stored signature is that of the stored bytes."""
        request = load(folder / "request.json")

        verify(
            (folder / "body.json").read_bytes(),
            headers=[request["headers"][SIGNATURE]],
            secrets=[request["secret"].encode()],
        )

    def test_event(self, folder):
        """The whole event is as expected, and so is the order of its members."""
        request, expected = load(folder / "request.json"), load(folder / "expected.json")
        body = (folder / "body.json").read_bytes()
        delivery = Delivery(
            endpoint="superoffice",
            body=body,
            received_ns=request["received_ns"],
            header_event=request["headers"]["X-SuperOffice-Event"],
            header_event_id=request["headers"]["X-SuperOffice-EventId"],
        )

        event, oddities = normalize(parse(body), delivery=delivery)

        assert json.dumps(expected["data"]) == json.dumps(event.data)
        assert sorted(expected["oddities"]) == sorted(oddities)
        for name in (
            "id",
            "event_id",
            "name",
            "entity",
            "action",
            "primary_key",
            "context",
            "endpoint",
        ):
            assert expected[name] == getattr(event, name)
        assert expected["time"] == event.time
        assert expected["record"] == (event.record and list(event.record))


def test_a_golden_sample_of_every_event():
    """Each action of each entity is there."""
    events = {f"{entity.name}.{action}" for entity in ENTITIES for action in entity.actions}
    folders = {folder.name for folder in GOLDEN}

    assert set() == events - folders
    assert {"test", "list.110.softdeleted", "y_rental.deleted", "custom"} <= folders


@pytest.mark.parametrize("event", known_events())
def test_known_event(event):
    """A sample of every known event is a usual webhook, which is normalized without a word."""
    made = sample(event)
    body = encode(made)
    headers = request_headers(body, event=event, event_id=made["EventId"], secret=b"s")
    delivery = Delivery(
        endpoint="superoffice",
        body=body,
        received_ns=0,
        header_event=headers["X-SuperOffice-Event"],
        header_event_id=headers["X-SuperOffice-EventId"],
    )

    normalized, oddities = normalize(parse(body), delivery=delivery)

    verify(body, headers=[headers[SIGNATURE]], secrets=[b"s"])
    assert () == oddities
    assert {} == normalized.data["properties"]
    assert (event, "Cust20001") == (normalized.name, normalized.context)


def test_known_events():
    """All events of the catalogue are known: plain ones, lists, an extra table and the test."""
    events = known_events()

    assert len(events) == len(set(events))
    assert {"test", "contact.softdeleted", "sale.sold", "webhook.errors"} <= set(events)
    assert {f"list.{name}.changed" for name in LIST_NAMES} <= set(events)
    assert {"y_rental.created", "y_rental.changed", "y_rental.deleted"} <= set(events)


def test_contact_created():
    """A sample has everything that SuperOffice sends, with the given key, id and time."""
    assert {
        "EventId": "0b7e5b0c",
        "Timestamp": "2026-03-02T09:15:27.1234563Z",
        "Changes": [
            *("contact_id", "activeInterests", "associate_id", "business_idx", "category_idx"),
            *("country_id", "deleted", "DeletedDate", "registered", "registered_associate_id"),
            *("source", "updated", "userdef2_id", "userdef_id", "updatedCount"),
        ],
        "Event": "contact.created",
        "PrimaryKey": 5,
        "Entity": "contact",
        "ContextIdentifier": "Default",
        "ChangedByAssociateId": 3,
        "WebhookName": "crm-sync",
        "FieldValues": {
            "activeInterests": 0,
            "associate_id": 7,
            "business_idx": 2,
            "category_idx": 3,
            "country_id": 578,
            "deleted": 0,
            "DeletedDate": "0001-01-01T00:00:00",
            "registered": "2026-03-02T11:15:27",
            "registered_associate_id": 7,
            "source": 0,
            "updated": "2026-03-02T11:15:27.1234563+02:00",
            "userdef2_id": 0,
            "userdef_id": 0,
        },
    } == sample(
        "contact.created",
        primary_key=5,
        context="Default",
        event_id="0b7e5b0c",
        now=NOW,
        changed_by=3,
        webhook_name="crm-sync",
    )


def test_deleted():
    """A deletion says what was removed and has no FieldValues, except where they are known."""
    contact, sale = sample("contact.deleted", primary_key=5), sample("sale.deleted", primary_key=5)

    assert {"associate_id": 7, "contact_id": 5} == contact["Values"]
    assert [] == contact["Changes"]
    assert "FieldValues" not in contact
    assert (5, 26) == (sale["Values"]["sale_id"], len(sale["FieldValues"]))


def test_changed():
    """A change lists columns, and mostly has no FieldValues."""
    person, ticket = sample("person.changed"), sample("ticket.changed", primary_key=5)

    assert ["person_id", "updated", "updated_associate_id", "updatedCount"] == person["Changes"]
    assert "FieldValues" not in person
    assert "Values" not in person
    assert 15 == len(ticket["FieldValues"])


def test_chat():
    """Chat sends ids as text and flags as booleans."""
    columns = sample("chatsession.created")["FieldValues"]

    assert ("4711", False) == (columns["contactId"], columns["consented"])
    assert "chatMessage.id" in sample("chatsession.message")["Changes"]


def test_extra_table():
    """Values of extra tables are bracketed until the row is deleted."""
    changed = sample("y_rental.changed", primary_key=6, now=NOW)["FieldValues"]
    deleted = sample("y_rental.deleted", primary_key=6, now=NOW)

    assert ("[I:6]", "[F:12.5]") == (changed["id"], changed["x_price"])
    assert "[DT:03/02/2026 11:15:27.0000000]" == changed["last_changed"]
    assert "[DT:01/01/0001 00:00:00.0000000]" == changed["dbi_last_modified"]
    assert (6, "2026-03-02T11:15:27") == (
        deleted["FieldValues"]["id"],
        deleted["FieldValues"]["last_changed"],
    )
    assert {} == deleted["Values"]


def test_state_of_a_webhook():
    """State events have the number of the webhook as their key, and no Entity."""
    made = sample("webhook12.errors")

    assert 12 == made["PrimaryKey"]
    assert "Entity" not in made
    assert 13 == sample("webhook12.errors", primary_key=13)["PrimaryKey"]


@pytest.mark.parametrize("event", ["window.closed", "foo", "contact.unheard", "list.110.x"])
def test_any_other_event(event):
    """A sample of any other name has what every webhook has."""
    made = sample(event)

    assert [] == made["Changes"]
    assert {"FieldValues", "Values"}.isdisjoint(made)
    assert event == parse(encode(made)).event


def test_samples_are_distinct_and_of_now():
    """Unless told otherwise each sample is another event of another record, at this moment."""
    before = datetime.now(UTC).replace(microsecond=0)
    made = [sample("contact.created") for _ in range(50)]
    times = [datetime.fromisoformat(one["Timestamp"]) for one in made]

    assert 50 == len({one["EventId"] for one in made})
    assert 1 < len({one["PrimaryKey"] for one in made})
    assert all(is_date_time(one["Timestamp"]) for one in made)
    assert all(before <= time <= datetime.now(UTC) for time in times)


def test_test_event():
    """The test event has the key 0 and a header of its own."""
    body = encode(sample("test"))
    headers = request_headers(body, event="test", event_id="e", secret=None)

    assert 0 == orjson.loads(body)["PrimaryKey"]
    assert ("true", "test") == (headers["X-Hook-Test"], headers["X-SuperOffice-Event"])


def test_request_headers():
    """The documented headers, signed with the secret if there is one."""
    expected = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "NetServer-Webhook/10.5.9210.1532",
        "X-SuperOffice-Event": "a.b",
        "X-SuperOffice-EventId": "e",
    }

    assert expected == request_headers(b"{}", event="a.b", event_id="e", secret=None)
    assert expected | {SIGNATURE: sign(b"{}", secret=b"s")} == request_headers(
        b"{}", event="a.b", event_id="e", secret=b"s"
    )
