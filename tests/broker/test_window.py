"""How much is on the wire at a time, and what becomes of the rest."""

import pytest

from bridge.broker.channel import WINDOW, WINDOW_BYTES
from bridge.core.publish import Outcome
from tests.helpers import consumer_queue, eventually, ids, message


@pytest.mark.parametrize(("size", "most"), [(0, WINDOW), (WINDOW_BYTES // 8, 8)])
async def test_window(publishing, broker, size, most):
    """Beyond a number of messages, or of bytes, publishes wait in line; all arrive, in order."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        channel = publisher._session.channel
        publishes = [publisher.submit(message(n, body=bytes(size))) for n in range(most + 20)]
        on_the_wire = len(channel._in_flight)
        await eventually(lambda: all(publish.outcome for publish in publishes))

    assert most == on_the_wire
    assert {Outcome.CONFIRMED} == {publish.outcome for publish in publishes}
    assert [f"event-{n}" for n in range(most + 20)] == ids(broker, "all")


async def test_line_of_a_lost_channel(publishing):
    """What was on the wire is unknown; what waited for its place was never sent, and is away."""
    async with publishing() as publisher:
        publishes = [publisher.submit(message(n)) for n in range(WINDOW + 50)]
        publisher._session.channel.abandon("test")

    outcomes = [publish.outcome for publish in publishes]
    assert [Outcome.UNKNOWN] * WINDOW + [Outcome.NOT_SENT] * 50 == outcomes
