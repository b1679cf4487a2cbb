"""The messages that leave: the CloudEvent, the parked delivery, the unrouted copy."""

import hashlib
import json

import pytest

from bridge.core.event import Delivery, Event
from bridge.core.message import bounded, event_message, parked_message, unrouted_message
from bridge.core.routing import Target

BODY = b'{"Event":"contact.created"}'


def event(**changes):
    fields = {
        "id": "event-1.key",
        "event_id": "event-1",
        "name": "contact.created",
        "entity": "contact",
        "action": "created",
        "primary_key": 4711,
        "context": "Cust20001",
        "endpoint": "superoffice",
        "time": "2026-03-02T09:15:27.1234567Z",
        "type": "com.superoffice.contact.created",
        "record": ("superoffice", "Cust20001", "contact", 4711),
        "data": {"event": "contact.created"},
        **changes,
    }
    return Event(**fields)


def delivery(**changes):
    return Delivery(
        **{"endpoint": "superoffice", "body": BODY, "received_ns": 17_999_999_999, **changes}
    )


def built(*, raw=False, **changes):
    target = Target("superoffice", "contact.created", raw)
    return event_message(event(**changes), delivery=delivery(), target=target, source="/s/x")


def test_the_envelope():
    """The CloudEvent has its members in a fixed order and nothing else."""
    assert {
        "specversion": "1.0",
        "id": "event-1.key",
        "source": "/s/x",
        "type": "com.superoffice.contact.created",
        "subject": "contact/4711",
        "time": "2026-03-02T09:15:27.1234567Z",
        "datacontenttype": "application/json",
        "dataschema": "urn:superoffice-bridge:contact:1",
        "eventid": "event-1",
        "data": {"event": "contact.created"},
    } == json.loads(built().body)
    assert ["specversion", "id", "source", "type"] == list(json.loads(built().body))[:4]


def test_the_message():
    """Properties and headers repeat what consumers route and select by."""
    message = built()

    assert "application/cloudevents+json" == message.content_type
    assert ("event-1.key", 17) == (message.message_id, message.timestamp)
    assert "com.superoffice.contact.created" == message.type
    assert ("superoffice", "Cust20001", "contact", 4711) == message.record
    assert {
        "entity": "contact",
        "action": "created",
        "endpoint": "superoffice",
        "context": "Cust20001",
        "primary_key": 4711,
    } == message.headers


def test_raw_route_keeps_the_bytes():
    """A raw message is the received body, with the same id, headers and key."""
    message = built(raw=True)

    assert (BODY, "application/json") == (message.body, message.content_type)
    assert message.headers == built().headers


def test_without_key_and_context():
    """What is absent has no header, and no subject."""
    message = built(primary_key=None, context=None, record=None)

    assert {"entity", "action", "endpoint"} == set(message.headers)
    assert "subject" not in json.loads(message.body)


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        ("A-7", "A-7"),
    ],
)
def test_key_beyond_int64_is_a_string(key, header):
    """Only what fits an AMQP int64 is one."""
    assert built(primary_key=key).headers["primary_key"] == header


def test_trace_and_retry():
    """The request's valid trace context and retry count become headers."""
    sent = delivery(retry=2, traceparent="00-a-b-01")
    target = Target("superoffice", "contact.created")
    message = event_message(event(), delivery=sent, target=target, source="/s")

    assert ("2", "00-a-b-01") == (message.headers["retry"], message.headers["traceparent"])


@pytest.mark.parametrize("field", ["entity", "context"])
def test_headers_are_bounded(field):
    """A sender's long text cannot make a header frame too large; the body keeps it in full."""
    message = built(**{field: "x" * 100_000})

    digest = hashlib.sha256(b"x" * 100_000).hexdigest()[:16]
    assert message.headers[field] == "x" * 200 + "~" + digest


@pytest.mark.parametrize(
    ("text", "kept"), [("a" * 255, 255), ("a" * 256, 217), ("ø" * 127, 254), ("ø" * 128, 217)]
)
def test_bound_counts_bytes(text, kept):
    """255 bytes stay, whatever the characters; a cut never splits one."""
    assert len(bounded(text).encode()) == kept


def test_bound_does_not_split_a_character():
    """Of a character across the cut nothing is kept."""
    assert bounded("a" + "ø" * 200).startswith("a" + "ø" * 99 + "~")


def test_parked():
    """A parked delivery keeps its raw bytes, and says why, where and when."""
    sent = delivery(body=b"\xff", retry=1, traceparent="00-a-b-01")
    message = parked_message(sent, reason="not_utf8", time="2026-03-02T09:15:27Z")

    assert ("superoffice.parked", b"\xff") == (message.exchange, message.body)
    assert message.message_id == f"sha256-{hashlib.sha256(bytes([255])).hexdigest()}"
    assert {
        "reason": "not_utf8",
        "endpoint": "superoffice",
        "time": "2026-03-02T09:15:27Z",
        "retry": "1",
        "traceparent": "00-a-b-01",
    } == message.headers
    assert message.record is None


def test_unrouted_copy():
    """The copy is the message in another exchange, plus its origin."""
    message = built()
    copy = unrouted_message(message)

    assert ("superoffice.unrouted", "contact.created") == (copy.exchange, copy.routing_key)
    assert (copy.body, copy.message_id, copy.type) == (
        message.body,
        message.message_id,
        message.type,
    )
    assert {
        ("original_exchange", "superoffice"),
        ("original_routing_key", "contact.created"),
    } == set(copy.headers.items()) - set(message.headers.items())


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a%00b"),
        ("a\r\nb", "a%0D%0Ab"),
        ("\x7f\x85", "%7F%C2%85"),
        ("\ufdd0\ufffe\U0010ffff", "%EF%B7%90%EF%BF%BE%F4%8F%BF%BF"),
        ("100 %", "100 %"),
        ("ø\u200b\xa0", "ø\u200b\xa0"),
    ],
)
def test_headers_hold_nothing_that_cloudevents_forbids(text, kept):
    """Control characters and noncharacters are percent-encoded; what is allowed stays."""
    assert bounded(text) == kept
