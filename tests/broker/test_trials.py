"""A message on a channel of its own: what it does to the wire harms no other."""

import pytest

from bridge.core.publish import Outcome
from tests.broker.peer import Peer, Published
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import eventually, message


@pytest.mark.parametrize("channel_max", [1, 2, 5])
async def test_broker_that_allows_few_channels(publishing, channel_max):
    """What is tried alone takes connections of its own."""
    async with Peer(channel_max=channel_max) as peer, publishing(urls=(peer.url,)) as publisher:
        trials = [publisher.try_alone(message(n)) for n in range(8)]
        await eventually(lambda: all(trial.outcome is Outcome.CONFIRMED for trial in trials))

        assert 1 == publisher.connection


def return_unreadable(published):
    """Return what goes to no queue, with a header of a type that nobody knows; never ack that."""
    if published.method.routing_key == "nobody.bound":
        published.give_back(unreadable="x")
    else:
        published.ack()


async def test_return_that_cannot_be_read(publishing):
    """It costs the connection; on one of its own, the message is refused, and others go on."""
    async with (
        Peer(on_publish=return_unreadable) as peer,
        publishing(urls=(peer.url,)) as publisher,
    ):
        both = [message(1, key="nobody.bound"), message(2)]
        assert Outcome.UNKNOWN in await publish_all(publisher, both)
        await eventually(lambda: publisher.connection == 2 and publisher.is_up)
        alone = publisher.try_alone(both[0], apart=True)
        assert await outcome_of(publisher, message(3)) is Outcome.CONFIRMED
        await eventually(lambda: alone.outcome)

        assert (Outcome.REFUSED, 2) == (alone.outcome, publisher.connection)


async def test_trial_that_ends_before_it_begins(publishing):
    """Its event is told so: of a task that never ran, nothing runs at its end."""
    async with Peer() as peer, publishing(urls=(peer.url,)) as publisher:
        trial = publisher.try_alone(message(1))
        publisher._trials.cancel()
        await eventually(lambda: trial.outcome, seconds=1.0)

    assert (Outcome.NOT_SENT, []) == (trial.outcome, peer.published)


async def test_trial_among_others_that_is_given_up(publishing):
    """What is not confirmed in time says so, and its copy on the wire can be heard of later."""
    held_back: list[Published] = []
    async with (
        Peer(on_publish=held_back.append) as peer,
        publishing(urls=(peer.url,), confirm_deadline=0.2) as publisher,
    ):
        publisher._limits.allows_channel = False
        publisher._limits._connection_at = float("inf")
        trial = publisher.try_alone(message(1))
        await eventually(lambda: trial.outcome)
        late = trial.straggler
        assert late is not None
        assert (Outcome.UNKNOWN, None) == (trial.outcome, late.outcome)
        held_back[0].ack()
        await eventually(lambda: late.outcome)

    assert Outcome.CONFIRMED == late.outcome
