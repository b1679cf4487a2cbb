"""Whatever was delivered can be published, and arrives as it was meant."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson
import pamqp.frame
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.broker.frames import publish_frames
from bridge.core.event import Delivery, Event
from bridge.core.message import (
    Message,
    event_message,
    parked_message,
    refused_message,
    unrouted_message,
)
from bridge.core.routing import Route, Router, Target, encode
from bridge.superoffice.names import source_uri
from tests.strategies.oracles import INT64, URI, URI_REFERENCE, date_time, is_key, text_of
from tests.strategies.webhooks import delivered, deliveries
from tests.values import changed

EXCHANGES = st.text(min_size=1, max_size=60).filter(lambda name: len(name.encode()) <= 255)
FRAME_SIZES = st.sampled_from((4096, 4097, 8192, 131_072)) | st.integers(4096, 2**20)
CHANNELS = st.integers(1, 65_535)
TARGETS = st.builds(Target, EXCHANGES, st.text("abc.%7", min_size=1, max_size=255), st.booleans())

HUGE = Event(
    id="id",
    event_id=None,
    name=f"{'a' * 5000}.{'b' * 5000}",
    entity="a" * 5000,
    action="b" * 5000,
    primary_key="ø" * 5000,
    context="名" * 5000,
    endpoint="superoffice",
    time="2026-03-02T09:15:27Z",
    type="com.superoffice.contact.created",
    record=None,
    data={},
)


def sent(message: Message, *, channel: int = 1, frame_max: int = 4096) -> tuple[Any, Any, bytes]:
    """Return method, header and body as a client of the broker reads them."""
    data, frames = publish_frames(message, channel=channel, frame_max=frame_max), []
    while data:
        size, number, frame = pamqp.frame.unmarshal(data)
        assert channel == number
        assert size <= frame_max, f"a frame of {size} bytes closes the connection"
        frames.append(frame)
        data = data[size:]
    method, header, *parts = frames
    assert isinstance(method, commands.Basic.Publish)
    assert isinstance(header, ContentHeader)
    bodies = [part.value for part in parts if isinstance(part, ContentBody)]
    assert len(parts) == len(bodies)
    return method, header, b"".join(bodies)


def check(message: Message, *, channel: int, frame_max: int) -> None:
    """Compare what is read from the wire with the message."""
    method, header, body = sent(message, channel=channel, frame_max=frame_max)

    assert (message.exchange, message.routing_key) == (method.exchange, method.routing_key)
    assert (True, False) == (method.mandatory, method.immediate)
    assert message.body == body
    assert len(message.body) == header.body_size
    assert {
        "content_type": message.content_type,
        "headers": dict(message.headers),
        "delivery_mode": 2,
        "message_id": message.message_id,
        "timestamp": datetime.fromtimestamp(message.timestamp, UTC),
        "message_type": message.type,
        "app_id": "superoffice-bridge",
    } == {name: value for name, value in header.properties if value not in (None, "")}


def message_of(pair: tuple[Delivery, Event], *, target: Target) -> Message:
    """Return the message of a delivered event, with the source that the pipeline gives it."""
    delivery, event = pair
    return event_message(event, delivery=delivery, target=target, source=source_uri(event.context))


@given(delivered(), TARGETS, CHANNELS, FRAME_SIZES)
@example((Delivery("superoffice", b"", 0), HUGE), Target("superoffice", "a"), 1, 4096)
def test_any_event_can_be_published(pair, target, channel, frame_max):
    """The frames of any event are legal, and every property is read back as it was."""
    check(message_of(pair, target=target), channel=channel, frame_max=frame_max)


@given(delivered(), TARGETS, CHANNELS, FRAME_SIZES)
def test_what_comes_back_can_be_published_again(pair, target, channel, frame_max):
    """The copy of a returned message: the same but for its exchange and where it came from."""
    message = message_of(pair, target=target)
    copy = unrouted_message(message)

    check(copy, channel=channel, frame_max=frame_max)
    assert message == changed(copy, exchange=message.exchange, headers=dict(message.headers))
    assert {
        **message.headers,
        "original_exchange": target.exchange,
        "original_routing_key": target.routing_key,
    } == copy.headers


@given(delivered(), TARGETS, CHANNELS, FRAME_SIZES)
def test_what_nobody_takes_can_be_parked(pair, target, channel, frame_max):
    """The copy of a refused message: its body and properties, the reason, and where it was for."""
    message = message_of(pair, target=target)
    copy = refused_message(message, reason="refused", time="2026-03-02T09:15:27Z")

    check(copy, channel=channel, frame_max=frame_max)
    assert message == changed(
        copy,
        exchange=message.exchange,
        routing_key=message.routing_key,
        headers=dict(message.headers),
    )
    assert {
        **message.headers,
        "reason": "refused",
        "time": "2026-03-02T09:15:27Z",
        "original_exchange": target.exchange,
        "original_routing_key": target.routing_key,
    } == copy.headers


@given(
    deliveries(body=st.binary(max_size=9000)),
    st.sampled_from(("not_utf8", "not_json", "not_object", "no_event")),
    CHANNELS,
    FRAME_SIZES,
)
def test_any_delivery_can_be_parked(delivery, reason, channel, frame_max):
    """Whatever the bytes, they are kept, with the reason, and found by an id."""
    message = parked_message(delivery, reason=reason, time="2026-03-02T09:15:27Z")

    check(message, channel=channel, frame_max=frame_max)
    assert delivery.body == message.body
    assert (reason, delivery.endpoint) == (message.headers["reason"], message.headers["endpoint"])
    assert _present(retry=delivery.retry, traceparent=delivery.traceparent) == set(
        message.headers
    ) - {"reason", "endpoint", "time"}
    assert message.message_id
    assert message.record is None


@given(delivered())
def test_the_published_json_is_read_alike_by_everybody(pair):
    """Two parsers read the same CloudEvent, and its data is the event's to the last digit."""
    _, event = pair
    body = message_of(pair, target=Target("superoffice", "a")).body
    cloudevent = json.loads(body)

    assert text_of(cloudevent) == text_of(orjson.loads(body))
    assert text_of(event.data) == text_of(cloudevent["data"])
    assert body == orjson.dumps(cloudevent)


@given(delivered())
@example((Delivery("superoffice", b"", 0), changed(HUGE, primary_key=0)))
def test_every_cloudevent_is_one(pair):
    """The attributes follow CloudEvents 1.0, and are those that the AMQP properties repeat."""
    _, event = pair
    message = message_of(pair, target=Target("superoffice", "a"))
    cloudevent = json.loads(message.body)

    assert ("1.0", "application/json") == (
        cloudevent["specversion"],
        cloudevent["datacontenttype"],
    )
    for name in cloudevent.keys() - {"data"}:
        assert re.fullmatch("[!-~]+", cloudevent[name]), name
    assert (message.message_id, message.type) == (cloudevent["id"], cloudevent["type"])
    assert is_key(cloudevent["type"])
    assert URI_REFERENCE.fullmatch(cloudevent["source"])
    assert URI.fullmatch(cloudevent["dataschema"])
    assert date_time(cloudevent["time"]) is not None
    assert event.event_id == cloudevent.get("eventid")
    assert (event.primary_key is None) == ("subject" not in cloudevent)
    if event.primary_key is not None:
        entity, _, key = cloudevent["subject"].partition("/")
        assert encode(event.entity) == entity
        assert re.fullmatch(r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", key)
        assert str(event.primary_key) == unquote(key)


@given(delivered())
def test_headers_say_what_the_event_is(pair):
    """Text, or an int64; absent values have no header, and none is invented."""
    delivery, event = pair
    headers = dict(message_of(pair, target=Target("superoffice", "a")).headers)

    assert all(type(value) is str or value in INT64 for value in headers.values())
    assert event.endpoint == headers["endpoint"]
    assert _present(
        context=event.context,
        primary_key=event.primary_key,
        retry=delivery.retry,
        traceparent=delivery.traceparent,
    ) == set(headers) - {"entity", "action", "endpoint"}
    assert not any(is_forbidden(letter) for value in headers.values() for letter in str(value))
    sent_key = str(event.primary_key)
    assert (
        sent_key == str(headers.get("primary_key"))
        or len(sent_key) > 200
        or any(map(is_forbidden, sent_key))
    )


def is_forbidden(letter: str) -> bool:
    """Return whether CloudEvents forbids it: a control character, or none of Unicode's for ever."""
    code = ord(letter)
    is_control = code < 0x20 or 0x7F <= code < 0xA0
    return is_control or 0xFDD0 <= code < 0xFDF0 or code & 0xFFFE == 0xFFFE


def _present(**values: Any) -> set[str]:
    return {name for name, value in values.items() if value is not None}


@given(delivered(), st.sampled_from(("{entity}.{action}", "{endpoint}.{primary_key}")))
def test_a_raw_route_publishes_the_bytes_that_came(pair, template):
    """From delivery to wire: identical bytes, and else just what a CloudEvent has."""
    delivery, event = pair
    routes = [[Route("#", "raw", template, raw)] for raw in (True, False)]
    raw, structured = (
        message_of(pair, target=Router(route, exchange="superoffice").target(event))
        for route in routes
    )

    assert delivery.body == sent(raw, frame_max=131_072)[2] == raw.body
    assert "application/json" == raw.content_type
    assert structured == changed(
        raw, body=structured.body, content_type="application/cloudevents+json"
    )
