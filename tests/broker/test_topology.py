"""What the bridge asks of RabbitMQ, and what it says when it is not there."""

import asyncio

import pytest

from bridge.broker import topology_watch
from bridge.broker.topology import UNROUTED_LIMIT, Queue, Topology
from bridge.broker.topology_check import check
from bridge.core.message import PARKED, UNROUTED
from bridge.core.publish import Outcome
from tests.helpers import amqp, consumer_queue, drain, eventually, message

WANTED = Topology.of(["superoffice", "crm.contacts", "superoffice"])


async def run_check(url, wanted=WANTED, *, mode="declare"):
    """Check once on a connection of its own."""
    return await check(url, wanted, mode=mode)


async def outcome_of(publisher, wanted):
    """Publish and return the outcome."""
    publish = publisher.submit(wanted)
    await eventually(lambda: publish.outcome)
    return publish.outcome


async def test_everything_is_declared_and_verified(broker):
    """After declaring, every exchange may be published to, and verifying agrees."""
    declared = await run_check(broker)
    verified = await run_check(broker, mode="verify")

    names = {"superoffice", "crm.contacts", UNROUTED, PARKED}
    assert (declared.verified, declared.mismatches) == (names, ())
    assert verified == declared


async def test_declaring_again_changes_nothing(broker):
    """Declare mode may run at every connection."""
    assert await run_check(broker) == await run_check(broker)


async def test_consumers_may_declare_the_exchange_too(broker):
    """The exchange is durable topic without arguments, as any consumer declares it."""
    await run_check(broker)
    consumer_queue(broker, "all", "#")  # raises on a difference
    with amqp(broker) as channel:
        channel.exchange_declare(UNROUTED, "fanout", durable=True)
        channel.exchange_declare(PARKED, "fanout", durable=True)


async def test_quarantines_are_quorum_queues_that_looking_cannot_empty(broker):
    """Both quarantine queues are quorum queues with a delivery limit out of reach."""
    await run_check(broker)
    endless = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
    bounded = {**endless, "x-max-length": UNROUTED_LIMIT, "x-overflow": "drop-head"}
    with amqp(broker) as channel:  # a difference in any argument raises
        channel.queue_declare(PARKED, durable=True, arguments=endless)
        channel.queue_declare(UNROUTED, durable=True, arguments=bounded)
        channel.basic_publish(PARKED, "", b"parked")
        channel.basic_publish(UNROUTED, "any.key", b"unrouted")
    await asyncio.to_thread(_wait_for, broker, PARKED)
    await asyncio.to_thread(_wait_for, broker, UNROUTED)

    assert [b"parked"] == [body for *_, body in drain(broker, PARKED)]
    assert [b"unrouted"] == [body for *_, body in drain(broker, UNROUTED)]


def _wait_for(url, queue):
    with amqp(url) as channel:
        for _ in range(500):
            if channel.queue_declare(queue, passive=True).method.message_count:
                return
            channel.connection.sleep(0.01)
    pytest.fail(f"nothing arrived in {queue}")


async def test_mismatch_names_the_object_and_both_sides(broker):
    """A wrong exchange is reported with what was asked and what is there; the rest is usable."""
    with amqp(broker) as channel:
        channel.exchange_declare("crm.contacts", "fanout", durable=True)
    report = await run_check(broker)

    [mismatch] = report.mismatches
    assert {"superoffice", UNROUTED, PARKED} == report.verified
    assert ("exchange", "crm.contacts") == (mismatch.kind, mismatch.name)
    assert "durable topic exchange without arguments" in mismatch.asked
    assert "received 'topic' but current is 'fanout'" in mismatch.found
    assert str(mismatch).startswith("exchange 'crm.contacts': asked for a durable topic")


async def test_quarantine_with_a_wrong_queue_is_not_used(broker):
    """A quarantine counts only when its queue is what it must be."""
    with amqp(broker) as channel:
        channel.queue_declare(PARKED, durable=True)
    report = await run_check(broker)

    assert {"superoffice", "crm.contacts", UNROUTED} == report.verified
    assert [("queue", PARKED)] == [(m.kind, m.name) for m in report.mismatches]


async def test_verify_mode_declares_nothing(broker):
    """Verify mode names what is missing and leaves the broker as it is."""
    first = await run_check(broker, mode="verify")
    second = await run_check(broker, mode="verify")

    assert first == second
    assert frozenset() == first.verified
    assert [
        ("exchange", "superoffice"),
        ("exchange", "crm.contacts"),
        ("exchange", UNROUTED),
        ("exchange", PARKED),
        ("queue", UNROUTED),
        ("queue", PARKED),
    ] == [(m.kind, m.name) for m in first.mismatches]
    assert "no exchange 'superoffice'" in first.mismatches[0].found


async def test_consumers_queues_are_declared_and_bound(broker):
    """Queues of the configuration receive what their bindings say, by default as quorum queues."""
    queue = Queue("billing", "superoffice", ("contact.deleted", "associate.#"))
    report = await run_check(broker, Topology.of(["superoffice"], [queue]))
    with amqp(broker) as channel:
        channel.queue_declare("billing", durable=True, arguments={"x-queue-type": "quorum"})
        channel.confirm_delivery()
        for key in ("contact.deleted", "contact.created", "associate.a.b"):
            channel.basic_publish("superoffice", key, key.encode())

    assert () == report.mismatches
    assert [b"contact.deleted", b"associate.a.b"] == [body for *_, body in drain(broker, "billing")]


@pytest.mark.parametrize("kind", ["classic", "quorum", "stream"])
async def test_every_queue_type_can_be_asked_for(broker, kind):
    """Classic, quorum and stream queues are declared durable."""
    queue = Queue("billing", "superoffice", ("#",), type=kind)

    report = await run_check(broker, Topology.of(["superoffice"], [queue]))

    assert () == report.mismatches


async def test_wrong_consumers_queue_never_stops_publishing(publishing, broker):
    """A mismatch of a consumer's queue is reported while events go on."""
    with amqp(broker) as channel:
        channel.queue_declare("billing", durable=True)
    wanted = Topology.of(["superoffice"], [Queue("billing", "superoffice", ("#",))])
    async with publishing(wanted=wanted) as publisher:
        outcome = await outcome_of(publisher, message(1))

        await eventually(lambda: publisher.topology == "mismatch")
        assert publisher.is_ready
        [mismatch] = publisher.mismatches
        assert ("queue", "billing") == (mismatch.kind, mismatch.name)
        assert outcome is Outcome.UNROUTED


async def test_exchanges_that_only_the_spool_needs_are_never_declared(broker):
    """Events on disk may name an exchange that the configuration no longer does."""
    wanted = Topology.of(["superoffice"], spooled=["superoffice", "other"])
    missing = await run_check(broker, wanted)
    with amqp(broker) as channel:
        channel.exchange_declare("other", "topic", durable=True)
    there = await run_check(broker, wanted)

    assert [("exchange", "other")] == [(m.kind, m.name) for m in missing.mismatches]
    assert {"other"} == there.verified - missing.verified


async def test_wrong_exchange_stops_only_its_own_events(publishing, broker, monkeypatch):
    """Events of a wrong exchange are held back until it is right; others are not."""
    monkeypatch.setattr(topology_watch, "RECHECK_SECONDS", 0.1)
    with amqp(broker) as channel:
        channel.exchange_declare("crm.contacts", "fanout", durable=True)
    async with publishing(wanted=WANTED, wait=False) as publisher:
        await eventually(lambda: publisher.broker == "up")
        ours = message(1, exchange="crm.contacts")
        held = await outcome_of(publisher, ours)
        other = await outcome_of(publisher, message(2))
        assert (Outcome.NOT_SENT, Outcome.UNROUTED, False) == (held, other, publisher.is_ready)

        with amqp(broker) as channel:
            channel.exchange_delete("crm.contacts")
        await eventually(lambda: publisher.is_ready)
        assert await outcome_of(publisher, ours) is Outcome.UNROUTED


async def test_user_without_configure_rights(node, broker):
    """Such a user cannot declare, which is reported as it is, but can verify."""
    await run_check(broker)
    rights = ("set_permissions", "publisher", "^$", ".*", ".*")
    await asyncio.to_thread(node.ctl, "add_user", "publisher", "secret")
    try:
        await asyncio.to_thread(node.ctl, *rights)
        url = broker.replace("guest:guest", "publisher:secret")
        declared = await run_check(url)
        verified = await run_check(url, mode="verify")
    finally:
        await asyncio.to_thread(node.ctl, "delete_user", "publisher")

    assert () == verified.mismatches
    assert frozenset() == declared.verified
    assert all("ACCESS_REFUSED" in mismatch.found for mismatch in declared.mismatches)
