"""The AMQP frames of one publish, read back with an independent codec."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.broker.frames import publish_frames
from bridge.core.errors import MessageInvalid
from bridge.core.message import Message
from tests.values import changed

MESSAGE = Message(
    exchange="superoffice",
    routing_key="contact.created",
    body=b'{"specversion":"1.0"}',
    content_type="application/cloudevents+json",
    message_id="0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
    type="com.superoffice.contact.created",
    timestamp=1_772_442_927,
    headers={"entity": "contact", "context": "Kjøp", "primary_key": 4711},
)


def frames(message, *, channel=1, frame_max=131_072):
    """Return the decoded frames with their channels."""
    data = publish_frames(message, channel=channel, frame_max=frame_max)
    found = []
    while data:
        size, number, frame = pamqp.frame.unmarshal(data)
        found.append((number, frame))
        assert size <= frame_max
        data = data[size:]
    return found


def test_method_names_the_target_and_is_mandatory():
    """The first frame is Basic.Publish with the mandatory flag and without immediate."""
    (channel, method), *_ = frames(MESSAGE, channel=7)

    assert 7 == channel
    assert isinstance(method, commands.Basic.Publish)
    assert ("superoffice", "contact.created") == (method.exchange, method.routing_key)
    assert (True, False) == (method.mandatory, method.immediate)


def test_header_carries_every_property():
    """The second frame holds the properties of the contract, and no other."""
    _, (_, header), *_ = frames(MESSAGE)

    assert isinstance(header, ContentHeader)
    assert len(MESSAGE.body) == header.body_size
    properties = dict(header.properties)
    assert {
        "content_type": "application/cloudevents+json",
        "headers": {"entity": "contact", "context": "Kjøp", "primary_key": 4711},
        "delivery_mode": 2,
        "message_id": "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11",
        "timestamp": datetime(2026, 3, 2, 9, 15, 27, tzinfo=UTC),
        "message_type": "com.superoffice.contact.created",
        "app_id": "superoffice-bridge",
    } == {name: value for name, value in properties.items() if value not in (None, "")}


@pytest.mark.parametrize("value", [0, 1, -1, 4711, 2**31, 2**63 - 1, -(2**63)])
def test_integer_header_is_always_an_int64(value):
    """Whatever its size, an integer header has the field type l on the wire."""
    message = changed(MESSAGE, headers={"primary_key": value})

    data = publish_frames(message, channel=1, frame_max=131_072)

    assert b"\x0bprimary_keyl" + value.to_bytes(8, "big", signed=True) in data


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 10_000, 200_000])
def test_body_is_split_at_frame_max(size):
    """Bodies of any size arrive whole, in frames no larger than was negotiated."""
    body = bytes(range(256)) * (size // 256 + 1)
    message = changed(MESSAGE, body=body[:size])

    parts = [frame.value for _, frame in frames(message, frame_max=4096)[2:]]

    assert body[:size] == b"".join(parts)
    assert -(-size // 4088) == len(parts)


@pytest.mark.parametrize(("frame_max", "parts"), [(0, 1), (1, 49), (4095, 49)])
def test_frame_max_that_is_no_limit_or_below_the_least(frame_max, parts):
    """0 means that there is no limit, and every peer accepts frames of 4,096 bytes."""
    message = changed(MESSAGE, body=bytes(200_000))

    data = publish_frames(message, channel=1, frame_max=frame_max)

    bodies = []
    while data:
        size, _, frame = pamqp.frame.unmarshal(data)
        bodies += [frame.value] if isinstance(frame, ContentBody) else []
        data = data[size:]
    assert (parts, message.body) == (len(bodies), b"".join(bodies))


def test_properties_that_fit_in_no_frame():
    """Only a body can be split: a header that is too large is never sent."""
    message = changed(MESSAGE, headers={"context": "x" * 4096})
    with pytest.raises(MessageInvalid):
        publish_frames(message, channel=1, frame_max=4096)
    assert publish_frames(message, channel=1, frame_max=0)


def test_body_frames_are_content():
    """After method and header come body frames only."""
    assert [ContentBody] == [type(frame) for _, frame in frames(MESSAGE)[2:]]


@pytest.mark.parametrize(
    "change",
    [
        {"routing_key": "ø" * 128},
        {"message_id": "x" * 256},
        {"exchange": "x" * 256},
        {"type": "x" * 256},
        {"timestamp": -1},
        {"headers": {"primary_key": 2**63}},
        {"headers": {"context": "\ud800"}},
        {"message_id": "\udfff"},
    ],
)
def test_what_amqp_cannot_carry_is_an_error_of_ours(change):
    """Counted in bytes, not characters, and raised before anything is sent."""
    with pytest.raises(MessageInvalid):
        publish_frames(changed(MESSAGE, **change), channel=1, frame_max=131_072)
