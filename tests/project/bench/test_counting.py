"""What is sent and what is delivered are counted event by event."""

from collections import Counter

import pytest

from bench.consumer import Consumer
from bench.load import Sequence
from bench.parity import our_message
from bench.pool import COLUMNS, Bodies, Pool, event_id, read, write
from bench.stats import percentile, rotated
from bridge.broker.frames import publish_frames
from bridge.superoffice.payload import parse


def test_events_of_a_pool_differ(tmp_path):
    """No two have an EventId or a primary key in common, and the file holds whole requests."""
    pool = write(tmp_path / "pool", 50)

    bodies = [request.partition(b"\r\n\r\n")[2] for request in read(pool.path)]
    payloads = [parse(body) for body in bodies]
    assert 50 == len({payload.event_id for payload in payloads})
    assert 50 == len({payload.primary_key for payload in payloads})
    assert {len(body) for body in bodies} == {pool.body_bytes}


def test_larger_bodies():
    """They are as large as asked for, and no larger than the bridge accepts."""
    body = Bodies(size=100_000)(3)

    assert 99_000 < len(body) <= 100_000
    assert len(parse(body).field_values) > COLUMNS


def test_sent_goes_in_a_circle(tmp_path):
    """Every event is counted as often as it was sent."""
    sequence = Sequence(Pool(tmp_path, 5, Bodies()))

    for count in (3, 4, 11):
        sequence.note(count)

    places = Counter(place % 5 for place in range(18))
    assert sequence.sent == [places[place] for place in range(5)]
    assert 18 % 5 == sequence.offset


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 1_000_000])
def test_consumer_finds_every_id_once(size):
    """Wherever the bytes from the broker are cut: in the property, and never in the body."""
    frames = b"".join(
        publish_frames(our_message(Bodies()(number)), channel=1, frame_max=4096)
        for number in (3, 1, 4, 1)
    )
    consumer = Consumer(5)

    for start in range(0, len(frames), size):
        consumer.data_received(frames[start : start + size])

    assert [0, 2, 0, 1, 1] == consumer.counts
    assert 4 == consumer.total


def test_ids_are_numbers_in_order():
    """The consumer reads the place in the pool from the last twelve digits."""
    assert 255 == int(event_id(255)[-12:], 16)


def test_order_moves_on():
    """Every row is first once."""
    assert ["a", "b", "c", "a"] == [rotated("abc", by)[0] for by in range(4)]


def test_percentiles():
    """The nearest that was measured, also at the ends."""
    values = list(range(1, 101))

    assert [1, 51, 100, 100] == [percentile(values, each) for each in (0, 50, 99, 100)]
