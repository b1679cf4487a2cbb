"""Objects that a broker rejects, is silent about, or dies of harm no other: scripted."""

import asyncio

import pytest
from pamqp import commands

from bridge.broker import topology_check, topology_watch
from bridge.broker.topology import Queue, Topology
from bridge.core.message import PARKED, UNROUTED
from bridge.core.publish import Outcome
from tests.broker.peer import SILENCE, Peer
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import eventually, message

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
