"""What one object or message does to the wire harms no other: with a scripted broker."""

import asyncio

import pytest
from pamqp import commands
from structlog.testing import capture_logs

from bridge.broker import topology_check, topology_watch
from bridge.broker.connection import connect
from bridge.broker.topology import Queue, Topology
from bridge.core.message import PARKED, UNROUTED
from bridge.core.publish import Outcome
from tests.broker.peer import SILENCE, Peer
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import consumer_queue, drain, eventually, message

CRASH = commands.Connection.Close(541, "INTERNAL_ERROR", 50, 10)
REFUSAL = commands.Channel.Close(406, "PRECONDITION_FAILED - no", 50, 10)


def queues(*names):
    """Return a topology with optional queues."""
    return Topology.of(["superoffice", "other"], [Queue(name, "other", ("#",)) for name in names])


def saying(answers):
    """Answer the declaration of some queues or exchanges with what is given."""

    def refuse(frame):
        if frame.name in ("Queue.Declare", "Exchange.Declare"):
            return answers.get(getattr(frame, "queue", "") or getattr(frame, "exchange", ""))
        return None

    return refuse


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (CRASH, "RabbitMQ closes the connection: INTERNAL_ERROR"),
        (commands.Connection.Close(540, "NOT_IMPLEMENTED - x", 50, 10), "NOT_IMPLEMENTED - x"),
        (REFUSAL, "RabbitMQ says: PRECONDITION_FAILED - no"),
        (SILENCE, "RabbitMQ gives no answer"),
    ],
)
async def test_queue_that_cannot_be_declared(publishing, monkeypatch, answer, said):
    """Publishing does not wait for it, the others are declared, and the report names it."""
    monkeypatch.setattr(topology_check, "ANSWER_SECONDS", 0.5)
    async with Peer(refuse=saying({"bad": answer})) as peer:
        wanted = queues("good", "bad", "better")
        async with publishing(urls=(peer.url,), wanted=wanted) as publisher:
            assert await outcome_of(publisher, message(1)) is Outcome.CONFIRMED
            await eventually(lambda: publisher.topology == "mismatch")
            [found] = publisher.mismatches

            assert publisher.is_ready
            assert (("queue", "bad"), publisher.connection) == ((found.kind, found.name), 1)
            assert said in found.found
            assert {"good", "better"} <= {frame.queue for frame in peer.declared("Queue.Declare")}


async def test_queues_are_there_before_the_first_publish(publishing):
    """What waits in the spool is published at once: a queue that is bound later would miss it."""
    names = [f"queue-{number}" for number in range(20)]
    async with Peer() as peer, publishing(urls=(peer.url,), wanted=queues(*names)) as publisher:
        declared = {frame.queue for frame in peer.declared("Queue.Declare")}

        assert set(names) <= declared
        assert "verified" == publisher.topology


@pytest.mark.parametrize("answer", [CRASH, REFUSAL, SILENCE])
async def test_exchange_that_cannot_be_declared(publishing, monkeypatch, answer):
    """It stops its own events only, at the next connection without any delay."""
    monkeypatch.setattr(topology_check, "ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(topology_watch, "RECHECK_SECONDS", 0.2)
    bad = {"other": answer}
    async with (
        Peer(refuse=saying(bad)) as peer,
        publishing(urls=(peer.url,), wanted=queues(), wait=False) as publisher,
    ):
        await eventually(lambda: publisher.can_publish_to("superoffice"))
        await eventually(lambda: publisher.is_up)
        ours, other = message(1, exchange="other"), message(2)
        assert [Outcome.NOT_SENT, Outcome.CONFIRMED] == await publish_all(publisher, [ours, other])
        [found] = publisher.mismatches
        assert (("exchange", "other"), False) == ((found.kind, found.name), publisher.is_ready)

        peer.hang_up()
        await eventually(lambda: publisher.connection == 2 and publisher.is_up)
        assert await outcome_of(publisher, message(3)) is Outcome.CONFIRMED
        bad.clear()
        await eventually(lambda: publisher.is_ready)
        assert (
            Outcome.CONFIRMED,
            "verified",
        ) == (await outcome_of(publisher, ours), publisher.topology)


async def test_broker_that_declares_nothing_at_all(publishing, broker, monkeypatch):
    """One that lets us in and answers about no object is left for the next one."""
    monkeypatch.setattr(topology_check, "ANSWER_SECONDS", 0.3)
    silent = dict.fromkeys(("superoffice", "other", UNROUTED, PARKED), SILENCE)
    async with Peer(refuse=saying(silent)) as peer:
        async with publishing(urls=(peer.url, broker), wanted=queues()) as publisher:
            assert await outcome_of(publisher, message(1)) is Outcome.UNROUTED
        assert 2 == len(peer.declared("Exchange.Declare"))


async def test_nobody_waits_for_another_look(publishing, monkeypatch):
    """While a broker takes its time about a queue, publishes go on and are watched over."""
    monkeypatch.setattr(topology_check, "ANSWER_SECONDS", 60.0)
    async with (
        Peer(refuse=saying({"slow": SILENCE})) as peer,
        publishing(urls=(peer.url,), wanted=queues("slow")) as publisher,
    ):
        await eventually(lambda: peer.declared("Queue.Declare")[-1].queue == "slow")
        peer.hang_up()
        await eventually(lambda: publisher.connection == 2 and publisher.is_up)
        assert (
            Outcome.CONFIRMED,
            "pending",
        ) == (await outcome_of(publisher, message(1)), publisher.topology)


@pytest.mark.parametrize("frame_max", [0, 4096])
async def test_numbers_that_are_tuned(publishing, frame_max):
    """0 is no limit, of frames, channels and heartbeats."""
    body = bytes(100_000)
    async with (
        Peer(frame_max=frame_max, channel_max=0, heartbeat=0) as peer,
        publishing(urls=(peer.url,)) as publisher,
    ):
        assert await outcome_of(publisher, message(1, body=body)) is Outcome.CONFIRMED
        alone = publisher.try_alone(message(2, body=body))
        await eventually(lambda: alone.outcome is Outcome.CONFIRMED)

    assert [body, body] == [published.body for published in peer.published]


@pytest.mark.parametrize("channel_max", [1, 2, 5])
async def test_broker_that_allows_few_channels(publishing, channel_max):
    """What is tried alone takes connections of its own."""
    async with Peer(channel_max=channel_max) as peer, publishing(urls=(peer.url,)) as publisher:
        trials = [publisher.try_alone(message(n)) for n in range(8)]
        await eventually(lambda: all(trial.outcome is Outcome.CONFIRMED for trial in trials))

        assert 1 == publisher.connection


async def test_broker_that_goes_on_after_a_pause(publishing):
    """While it confirms what is overdue, one after the other, its connection is not left."""
    pausing = False

    def refuse(frame):
        return SILENCE if pausing and frame.name == "Channel.Open" else None

    async with (
        Peer(on_publish=lambda _: None, refuse=refuse) as peer,
        publishing(urls=(peer.url,), confirm_deadline=0.3) as publisher,
    ):
        pausing = True
        publishes = [publisher.submit(message(n)) for n in range(20)]
        await eventually(lambda: len(peer.published) == 20 and not publisher.is_up)
        for published in list(peer.published):
            published.ack()
            await asyncio.sleep(0.05)
        await eventually(lambda: {Outcome.CONFIRMED} == {each.outcome for each in publishes})

        assert 1 == publisher.connection


async def test_rabbitmq_without_limits(publishing, node, broker):
    """What RabbitMQ itself negotiates when its limits are 0."""
    consumer_queue(broker, "all", "#")
    body = bytes(300_000)
    limits = "[{frame_max, %d}, {channel_max, %d}]"
    set_to = f"[application:set_env(rabbit, K, V) || {{K, V}} <- {limits}]."
    await asyncio.to_thread(node.evaluate, set_to % (0, 0))
    try:
        async with publishing() as publisher:
            outcome = await outcome_of(publisher, message(1, body=body))
            opened = await connect(broker, purpose="test")
            assert opened.amqp.transport
            tuned = opened.amqp.transport.connection.connection_tune
            await opened.close()
    finally:
        await asyncio.to_thread(node.evaluate, set_to % (131_072, 2047))

    assert (0, 0, Outcome.CONFIRMED) == (tuned.frame_max, tuned.channel_max, outcome)
    assert [body] == [found for _, _, found in drain(broker, "all")]


def return_altered(published):
    """Return what goes to no queue, with the headers that a broker has added on entry."""
    if published.method.routing_key == "nobody.bound" and published.method.exchange != UNROUTED:
        headers = {"x-routed-by": "rabbit@a", "timestamp_in_ms": 1_772_442_927_000}
        published.give_back(**headers, entity="replaced")
    published.ack()


async def test_broker_that_adds_headers_on_entry(publishing):
    """A message that comes back altered is copied like any other, on the same channel."""
    keys = ("contact.created", "nobody.bound")
    async with (
        Peer(on_publish=return_altered) as peer,
        publishing(urls=(peer.url,)) as publisher,
    ):
        messages = [message(n, key=keys[n % 2]) for n in range(40)]
        outcomes = await publish_all(publisher, messages)
        assert 1 == publisher.connection

    assert [Outcome.CONFIRMED, Outcome.UNROUTED] * 20 == outcomes
    copies = [each.header.properties for each in peer.published if each.method.exchange == UNROUTED]
    assert [f"event-{n}" for n in range(1, 40, 2)] == [copy.message_id for copy in copies]
    assert {"contact"} == {copy.headers["entity"] for copy in copies}


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


def ack_too_much(published):
    """Confirm a tag that nobody will ever publish, once; then as it should be."""
    first = published.method.routing_key == "first.sent"
    published.ack(2**62 if first else None, multiple=first)


async def test_ack_far_ahead(publishing):
    """The connection is thrown away at once, and the next one is used."""
    async with Peer(on_publish=ack_too_much) as peer, publishing(urls=(peer.url,)) as publisher:
        both = [message(1, key="first.sent"), message(2)]
        assert [Outcome.UNKNOWN] * 2 == await publish_all(publisher, both)
        await eventually(lambda: publisher.connection == 2 and publisher.is_up)
        assert await outcome_of(publisher, message(3)) is Outcome.CONFIRMED


async def test_stop_while_a_queue_is_looked_at(publishing):
    """A stop does not wait for the answer."""
    async with (
        Peer(refuse=saying({"slow": SILENCE})) as peer,
        publishing(urls=(peer.url,), wanted=queues("slow")) as publisher,
    ):
        await eventually(lambda: peer.declared("Queue.Declare")[-1].queue == "slow")
        assert publisher.is_ready
        stopped = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopped < 3


async def test_trial_that_ends_before_it_begins(publishing):
    """Its event is told so: of a task that never ran, nothing runs at its end."""
    async with Peer() as peer, publishing(urls=(peer.url,)) as publisher:
        trial = publisher.try_alone(message(1))
        publisher._trials.cancel()
        await eventually(lambda: trial.outcome, seconds=1.0)

    assert (Outcome.NOT_SENT, []) == (trial.outcome, peer.published)


async def test_refused_copies_are_logged_within_bounds(publishing):
    """Events that no queue takes, nor the quarantine, have a hundred lines in a minute."""

    def return_all(published):
        published.give_back()
        published.ack()

    refusal = {UNROUTED: commands.Channel.Close(404, "NOT_FOUND", 40, 10)}
    with capture_logs() as logs:
        async with (
            Peer(on_publish=return_all, refuse=saying(refusal)) as peer,
            publishing(urls=(peer.url,), wait=False) as publisher,
        ):
            await eventually(lambda: publisher.is_up and publisher.can_publish_to("superoffice"))
            outcomes = await publish_all(publisher, [message(n) for n in range(200)])

    assert {Outcome.REFUSED} == set(outcomes)
    assert 100 == len([line for line in logs if line["event"] == "unrouted_refused"])
