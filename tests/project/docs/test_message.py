"""docs/reference/message.md shows what the code publishes."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pamqp.frame
import pytest
from pamqp.header import ContentHeader

from bridge.broker.frames import publish_frames
from bridge.broker.topology import UNROUTED_LIMIT
from bridge.core.event import Delivery
from bridge.core.message import (
    MAX_HEADER_BYTES,
    Message,
    parked_message,
    refused_message,
    unrouted_message,
)
from bridge.core.reasons import Undelivered, Unreadable
from bridge.core.routing import Route
from bridge.settings import load
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from tests.project.docs.documents import blocks, items, section, span, spans, table
from tests.project.docs.events import RECEIVED_NS, delivery, normalized, published

PAGE = "reference/message.md"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def on_the_wire(message: Message) -> dict[str, Any]:
    """Return the AMQP properties that are set, as another codec reads them."""
    data = publish_frames(message, channel=1, frame_max=131_072)
    while data:
        size, _, frame = pamqp.frame.unmarshal(data)
        if isinstance(frame, ContentHeader):
            found: dict[str, Any] = dict(frame.properties)
            found["type"] = found.pop("message_type")  # as pamqp calls it
            found["timestamp"] = int(found["timestamp"].timestamp())
            return {name: value for name, value in found.items() if value not in (None, "")}
        data = data[size:]
    raise AssertionError("a publish has a header")


@pytest.fixture(scope="module")
def received() -> Delivery:
    """Return the request of the example."""
    text = section(PAGE, "Example")
    assert {"X-SuperOffice-Retry: 1", f"traceparent: {TRACEPARENT}"} < set(spans(text))
    assert f"{datetime.fromtimestamp(RECEIVED_NS / 1e9, UTC):%H:%M:%S.5} UTC" in text
    return delivery(blocks(text, "json")[0].encode(), retry=1, traceparent=TRACEPARENT)


@pytest.fixture(scope="module")
def example(received: Delivery) -> Message:
    """Return the message of the example."""
    return published(normalize(parse(received.body), delivery=received)[0], received)


@pytest.fixture(scope="module")
def bare() -> Message:
    """Return a message of an event of which nothing is known but its name."""
    came = delivery(b'{"Event": "contact.changed"}')
    return published(normalize(parse(came.body), delivery=came)[0], came)


def test_the_example_is_what_is_published(example: Message) -> None:
    """The request of the example becomes the message of the example."""
    text = section(PAGE, "Example")

    assert {"superoffice", "contact.created"} < set(spans(text))
    assert ("superoffice", "contact.created") == (example.exchange, example.routing_key)
    assert json.loads(blocks(text, "json")[1]) == json.loads(example.body)


def test_the_properties_are_those_of_the_wire(example: Message) -> None:
    """Every property that is set has a line with its value, and no other has."""
    found = on_the_wire(example)
    rows = {span(row["Property"]): row["In the example"] for row in table(PAGE, "AMQP properties")}

    assert found.keys() == rows.keys()
    assert {name: f"`{value}`" for name, value in found.items() if name != "headers"} == {
        name: cell for name, cell in rows.items() if name != "headers"
    }


def test_the_headers_are_those_of_the_wire(example: Message, bare: Message) -> None:
    """Every header has a line with its value, and the bare event those always present."""
    rows = table(PAGE, "Headers")
    found = on_the_wire(example)["headers"]

    shown = {span(row["Header"]): span(row["In the example"]) for row in rows}

    assert "number as `primary_key` is a 64-bit integer" in section(PAGE, "Headers")
    assert {**shown, "primary_key": int(shown["primary_key"])} == found
    assert on_the_wire(bare)["headers"].keys() == {
        span(row["Header"]) for row in rows if row["Present"] == "always"
    }


def test_long_headers_are_cut_as_described() -> None:
    """A name of a body's length does not make a header of that length."""
    came = delivery(json.dumps({"Event": f"{'a' * 300}.created"}).encode())
    cut = str(published(normalize(parse(came.body), delivery=came)[0], came).headers["entity"])

    assert f"at most {MAX_HEADER_BYTES} bytes" in section(PAGE, "Headers")
    assert ("a" * 200, "~", 16) == (cut[:200], cut[200], len(cut[201:]))


def test_the_envelope_has_the_members_listed(example: Message, bare: Message) -> None:
    """All of them, and without a primary key those that are always present."""
    listed = items(section(PAGE, "Envelope"))

    assert [spans(name)[0] for name in listed] == list(json.loads(example.body))
    assert json.loads(bare.body).keys() == {span(n) for n in listed if ", with " not in n}


def test_data_has_the_members_listed(example: Message) -> None:
    """All of them, always, with the defaults of the table."""
    rows = table(PAGE, "`data`")
    absent = normalized(Event="x")[0].data

    assert [span(row["Member"]) for row in rows] == list(json.loads(example.body)["data"])
    assert absent.keys() == json.loads(example.body)["data"].keys()
    for row in rows[2:]:
        assert json.loads(span(row["If absent"])) == absent[span(row["Member"])]


def test_a_raw_route_publishes_the_bytes(tmp_path: Path) -> None:
    """The route of the page changes exchange, content type and body, and nothing else."""
    config = tmp_path / "bridge.toml"
    config.write_text(blocks(section(PAGE, "Raw routes"), "toml")[0])
    [route] = load(config, {"SUPEROFFICE_SECRET": "s3cret"}).settings.routes
    came = delivery(b'{ "Event": "y_rental.created", "big": 1, "big": 18446744073709551616 }')
    given = normalize(parse(came.body), delivery=came)[0]
    raw = Route(route.match, route.exchange, route.routing_key, raw=route.format == "raw")
    changed = published(given, came, raw)
    usual = published(given, came)

    assert ("crm.raw", "application/json", came.body) == (
        changed.exchange,
        changed.content_type,
        changed.body,
    )
    for name in ("routing_key", "message_id", "type", "timestamp", "headers"):
        assert getattr(usual, name) == getattr(changed, name)


def test_an_unrouted_message_has_the_headers_listed(example: Message) -> None:
    """It goes to its exchange with two headers more, and is otherwise the same."""
    copy = unrouted_message(example)
    listed = items(section(PAGE, "Unrouted messages"))
    more = {span(name) for name in listed if name.startswith("Header ")}

    assert "superoffice.unrouted" == copy.exchange
    assert more == copy.headers.keys() - example.headers.keys()
    assert on_the_wire(example) == on_the_wire(copy) | {"headers": dict(example.headers)}
    assert (example.routing_key, example.body) == (copy.routing_key, copy.body)
    assert f"{UNROUTED_LIMIT} messages" in section(PAGE, "Unrouted messages")


def test_parked_messages_have_what_is_listed(received: Delivery, example: Message) -> None:
    """Those that were not understood, and those that were not delivered."""
    raw = parked_message(received, reason="not_json", time="2026-03-02T09:15:27.5Z")
    copy = refused_message(example, reason="refused", time="2026-03-02T09:15:27.5Z")
    listed = items(section(PAGE, "Parked messages"))
    headers = table(PAGE, "Parked messages")
    names = {column: {span(r["Header"]) for r in headers if r[column]} for column in headers[0]}

    assert ("superoffice.parked", "superoffice.parked") == (raw.exchange, copy.exchange)
    assert ("not_json", "refused") == (raw.routing_key, copy.routing_key)
    assert spans(listed["`content_type`"])[0] == raw.content_type
    assert spans(listed["`type`"])[0] == raw.type
    assert spans(listed["`message_id`"])[0].startswith(raw.message_id[:7])
    assert names["Not understood"] == raw.headers.keys()
    assert names["Not delivered"] == names["Header"]
    assert names["Header"] == copy.headers.keys() - {"entity", "action", "context", "primary_key"}
    assert on_the_wire(example) == on_the_wire(copy) | {"headers": dict(example.headers)}
    assert example.body == copy.body


def parked_for(why: str) -> set[str]:
    """Return the reasons of one of the two lists, by the words that are above it."""
    above = rf"^Reasons why .+ was not {why}:\n\n((?:- .+\n)+)"
    [lines] = re.findall(above, section(PAGE, "Parked messages"), flags=re.MULTILINE)
    return {span(name) for name in items(lines)}


def test_every_reason_to_park_is_listed() -> None:
    """What the parser refuses, and what the drain gives up."""
    assert set(Unreadable) == parked_for("understood")
    assert set(Undelivered) == parked_for("delivered")
