"""Confirmed publishing on a real RabbitMQ: every outcome belongs to its own message."""

import asyncio
import dataclasses
from collections import Counter

import pytest

from bridge import publisher as publisher_module
from bridge.core.message import UNROUTED
from bridge.ports import Outcome
from bridge.testing.rabbitmq import free_port
from tests.helpers import amqp, consumer_queue, drain, eventually, ids, message

RECORD = ("superoffice", "Cust20001", "contact", 4711)


def soon(seconds=10.0):
    """Return a deadline in loop time."""
    return asyncio.get_running_loop().time() + seconds


async def publish_all(publisher, messages, *, seconds=20.0):
    """Publish at once and return the outcomes in order."""
    deadline = soon(seconds)
    return await asyncio.gather(*(publisher.publish(m, deadline=deadline) for m in messages))


async def test_confirmed_message_is_in_its_queue(publishing, broker):
    """CONFIRMED means that a consumer finds the message, with every property."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        outcome = await publisher.publish(message(7), deadline=soon())

    [(method, properties, body)] = drain(broker, "all")
    assert outcome is Outcome.CONFIRMED
    assert (method.exchange, method.routing_key) == ("superoffice", "contact.created")
    assert body == b'{"number":7}'
    assert properties.delivery_mode == 2
    assert properties.message_id == "event-7"
    assert properties.type == "com.superoffice.contact.created"
    assert properties.app_id == "superoffice-bridge"
    assert properties.content_type == "application/cloudevents+json"
    assert properties.timestamp == 1_772_442_927
    assert properties.headers == {"entity": "contact", "endpoint": "superoffice", "primary_key": 7}


async def test_outcomes_under_concurrency(publishing, broker):
    """Of 300 at once, a third is unroutable and a third refused: each is told its own outcome."""
    consumer_queue(broker, "all", "contact.created")
    full = {"x-max-length": 0, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "full.created", **full)
    keys = ("contact.created", "nobody.bound", "full.created")
    messages = [message(n, key=keys[n % 3]) for n in range(300)]
    async with publishing() as publisher:
        outcomes = await publish_all(publisher, messages)

    expected = (Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.REFUSED)
    assert outcomes == [expected[n % 3] for n in range(300)]
    assert sorted(ids(broker, "all")) == sorted(f"event-{n}" for n in range(0, 300, 3))
    assert sorted(ids(broker, UNROUTED)) == sorted(f"event-{n}" for n in range(1, 300, 3))


async def test_same_event_id_on_two_endpoints(publishing, broker):
    """An EventId in flight twice, once unroutable: the return belongs to its own publish."""
    consumer_queue(broker, "all", "contact.created")
    pairs = []
    for number in range(100):
        for endpoint, key in (("oslo", "contact.created"), ("bergen", "nobody.bound")):
            headers = {"endpoint": endpoint}
            pairs.append(message(number, key=key, headers=headers))
    async with publishing() as publisher:
        outcomes = await publish_all(publisher, pairs)

    assert outcomes == [Outcome.CONFIRMED, Outcome.UNROUTED] * 100
    endpoints = [properties.headers["endpoint"] for _, properties, _ in drain(broker, UNROUTED)]
    assert Counter(endpoints) == {"bergen": 100}


async def test_returned_messages_that_are_equal_but_for_one_part(publishing, broker):
    """Headers, bodies and exchanges tell returned messages apart, not the id alone."""
    consumer_queue(broker, "all", "#")
    consumer_queue(broker, "contacts", "nothing", exchange="other")
    wanted = publisher_module.Topology.of(["superoffice", "other"])
    variants = [
        message(1),
        message(1, exchange="other"),
        message(1, body=b"{}", exchange="other"),
        message(1, headers={"endpoint": "x"}, exchange="other"),
    ]
    async with publishing(wanted=wanted) as publisher:
        outcomes = await publish_all(publisher, variants)

    assert outcomes == [Outcome.CONFIRMED, *[Outcome.UNROUTED] * 3]
    found = {(p.headers["endpoint"], body) for _, p, body in drain(broker, UNROUTED)}
    assert found == {
        ("superoffice", b'{"number":1}'),
        ("superoffice", b"{}"),
        ("x", b'{"number":1}'),
    }


async def test_unrouted_copy_names_its_origin(publishing, broker):
    """The copy in superoffice.unrouted is the message, plus where it was meant to go."""
    async with publishing() as publisher:
        outcome = await publisher.publish(message(1, key="sale.sold"), deadline=soon())

    [(method, properties, body)] = drain(broker, UNROUTED)
    assert outcome is Outcome.UNROUTED
    assert (method.routing_key, body) == ("sale.sold", b'{"number":1}')
    assert properties.message_id == "event-1"
    assert properties.headers["original_exchange"] == "superoffice"
    assert properties.headers["original_routing_key"] == "sale.sold"
    assert properties.headers["entity"] == "contact"


async def test_unrouted_without_its_queue_is_refused(publishing, broker):
    """When even the quarantine takes nothing, nobody has the event, and the outcome says so."""
    async with publishing() as publisher:
        with amqp(broker) as channel:
            channel.queue_delete(UNROUTED)
        outcome = await publisher.publish(message(1), deadline=soon())

    assert outcome is Outcome.REFUSED


async def test_one_unresolved_message_per_record(publishing, broker):
    """Of one record one message is in flight at a time, and they arrive in the order of calls."""
    consumer_queue(broker, "all", "#")
    messages = [message(n, record=RECORD) for n in range(200)]
    async with publishing() as publisher:
        waiting = asyncio.gather(*(publisher.publish(m, deadline=soon()) for m in messages))
        seen = set()
        while not waiting.done():
            seen.add(publisher.in_flight)
            await asyncio.sleep(0)

    assert set(await waiting) == {Outcome.CONFIRMED}
    assert seen <= {0, 1}
    assert ids(broker, "all") == [f"event-{n}" for n in range(200)]


async def test_other_records_do_not_wait(publishing, node, broker):
    """Only the record of the unresolved message waits."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        try:
            waiting = [publisher.submit(message(n, record=RECORD)) for n in range(3)]
            waiting += [publisher.submit(message(n, record=(*RECORD[:3], n))) for n in (3, 4)]
            waiting += [publisher.submit(message(5))]
            in_flight = publisher.in_flight
        finally:
            await asyncio.to_thread(node.thaw)
        outcomes = [await publish.within(soon()) for publish in waiting]

    assert in_flight == 4
    assert outcomes == [Outcome.CONFIRMED] * 6


async def test_waiting_message_is_withdrawn_at_its_deadline(publishing, node, broker):
    """A message that never left its line is not published after its sender was told so."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        try:
            first = asyncio.create_task(
                publisher.publish(message(1, record=RECORD), deadline=soon())
            )
            await asyncio.sleep(0)
            second = await publisher.publish(message(2, record=RECORD), deadline=soon(0.2))
        finally:
            await asyncio.to_thread(node.thaw)
        assert (second, await first) == (Outcome.AWAY, Outcome.CONFIRMED)
        await publisher.publish(message(3, record=RECORD), deadline=soon())

    assert ids(broker, "all") == ["event-1", "event-3"]


async def test_unverified_exchange_is_never_published_to(publishing, broker):
    """A message for an exchange that was not verified does not cost the others their channel."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        channel = publisher._channel
        messages = [message(n, exchange="missing" if n == 10 else "superoffice") for n in range(30)]
        outcomes = await publish_all(publisher, messages)
        assert publisher._channel is channel

    assert outcomes == [Outcome.AWAY if n == 10 else Outcome.CONFIRMED for n in range(30)]


async def test_body_beyond_frame_max(publishing, broker):
    """A body of several frames arrives whole, and so does one that comes back."""
    consumer_queue(broker, "all", "contact.created")
    body = bytes(range(256)) * 4096
    async with publishing() as publisher:
        outcomes = await publish_all(
            publisher, [message(1, body=body), message(2, key="nobody.bound", body=body)]
        )

    assert outcomes == [Outcome.CONFIRMED, Outcome.UNROUTED]
    assert [found for _, _, found in drain(broker, "all")] == [body]
    assert [found for _, _, found in drain(broker, UNROUTED)] == [body]


async def test_invalid_message_shifts_no_outcome(publishing, broker):
    """What AMQP cannot carry is refused before it takes a delivery tag."""
    consumer_queue(broker, "all", "contact.created")
    invalid = message(1, key="x" * 256)
    messages = [message(0), invalid, message(2, key="nobody.bound"), message(3)]
    async with publishing() as publisher:
        outcomes = await publish_all(publisher, messages)

    assert [outcome.name for outcome in outcomes] == [
        "CONFIRMED",
        "REFUSED",
        "UNROUTED",
        "CONFIRMED",
    ]


async def test_second_url_is_used_when_the_first_is_dead(publishing, broker):
    """The list of URLs is tried in order."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with publishing(urls=(dead, broker)) as publisher:
        assert await publisher.publish(message(1), deadline=soon()) is Outcome.UNROUTED


async def test_no_broker_at_start(publishing):
    """Without a broker the publisher runs, says so, and takes nothing."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with publishing(urls=(dead,), wait=False) as publisher:
        await asyncio.sleep(0)
        outcome = await publisher.publish(message(1), deadline=soon())

    assert outcome is Outcome.AWAY
    assert (publisher.broker, publisher.topology, publisher.is_ready) == ("down", "pending", False)


async def test_killed_broker_comes_back(publishing, node, broker):
    """After kill -9 everything in flight is unknown, then away, and later all is well again."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)  # so that something is in flight when it dies
        lost = asyncio.create_task(publisher.publish(message(1), deadline=soon(60)))
        await asyncio.sleep(0)
        await asyncio.to_thread(node.kill)
        assert await lost is Outcome.UNKNOWN
        assert await publisher.publish(message(2), deadline=soon()) is Outcome.AWAY
        await asyncio.to_thread(node.restart)
        await eventually(lambda: publisher.is_ready)
        assert await publisher.publish(message(3), deadline=soon()) is Outcome.CONFIRMED

    assert "event-3" in ids(broker, "all")


async def test_blocked_broker_is_away(publishing, node, broker):
    """connection.blocked turns messages away at once; the unresolved one is confirmed later."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.raise_alarm)
        try:
            first = publisher.submit(message(1))  # the broker tells only those who publish
            await eventually(lambda: publisher.broker == "blocked")
            second = await publisher.publish(message(2), deadline=soon())
        finally:
            await asyncio.to_thread(node.clear_alarm)
        late = await first.within(soon())
        await eventually(lambda: publisher.is_ready)

    assert (late, second) == (Outcome.CONFIRMED, Outcome.AWAY)
    assert ids(broker, "all") == ["event-1"]


async def test_frozen_broker_is_noticed(publishing, node, broker, monkeypatch):
    """Nothing confirmed within the deadline: unknown, then away, then the connection is cut."""
    monkeypatch.setattr(publisher_module, "_DEAF_SECONDS", 1.0)
    async with publishing(confirm_deadline=0.3) as publisher:
        first = publisher._channel
        await asyncio.to_thread(node.freeze)
        try:
            unknown = await publisher.publish(message(1), deadline=soon(0.3))
            away = await publisher.publish(message(2), deadline=soon(10))
            await eventually(lambda: publisher._channel is None)
        finally:
            await asyncio.to_thread(node.thaw)
        await eventually(lambda: publisher.is_ready)
        assert publisher._channel is not first

    assert (unknown, away) == (Outcome.UNKNOWN, Outcome.AWAY)


async def test_late_confirm_frees_the_record(publishing, node, broker):
    """After its deadline a message stays unresolved; its late confirm lets the next one go."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        try:
            first = publisher.submit(message(1, record=RECORD))
            assert await first.within(soon(0.1)) is Outcome.UNKNOWN
            second = publisher.submit(message(2, record=RECORD))
            assert publisher.in_flight == 1
        finally:
            await asyncio.to_thread(node.thaw)
        assert await second.within(soon()) is Outcome.CONFIRMED

    assert first.outcome is Outcome.CONFIRMED
    assert ids(broker, "all") == ["event-1", "event-2"]


async def test_exchange_deleted_while_running(publishing, broker):
    """The broker closes the channel; the exchange is declared again and publishing goes on."""
    async with publishing() as publisher:
        with amqp(broker) as channel:
            channel.exchange_delete("superoffice")
        lost = await publish_all(publisher, [message(n) for n in range(50)])
        await eventually(lambda: publisher.is_ready)
        outcome = await publisher.publish(message(1), deadline=soon())

    assert set(lost) == {Outcome.UNKNOWN}
    assert outcome is Outcome.UNROUTED


async def test_heartbeat_is_short(publishing, node):
    """The heartbeat that is agreed with the broker lies between 5 and 10 seconds."""
    async with publishing():
        timeouts = await asyncio.to_thread(
            node.ctl, "list_connections", "--quiet", "--no-table-headers", "timeout"
        )

    assert timeouts.split() == ["5"]


async def test_stopping_settles_what_is_in_flight(publishing, node, broker):
    """A publisher that is stopped leaves nobody waiting."""
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        publish = publisher.submit(message(1, record=RECORD))
        follower = publisher.submit(message(2, record=RECORD))
    await asyncio.to_thread(node.thaw)

    assert (publish.outcome, follower.outcome) == (Outcome.UNKNOWN, Outcome.AWAY)


@pytest.mark.parametrize("count", [1, 2000])
async def test_long_line_of_a_record_ends_without_recursion(publishing, node, count):
    """However many wait behind one message, losing the connection settles them all."""
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        publishes = [publisher.submit(message(n, record=RECORD)) for n in range(count)]
    await asyncio.to_thread(node.thaw)

    assert Counter(p.outcome for p in publishes[1:]) == Counter({Outcome.AWAY: count - 1})
    assert publishes[0].outcome is Outcome.UNKNOWN


async def test_return_matches_only_what_is_equal(publishing, broker):
    """A message equal in all but its headers' values is another message."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        one = message(1, key="x.y")
        other = dataclasses.replace(one, headers={**one.headers, "primary_key": 2})
        outcomes = await publish_all(publisher, [one, other])

    assert outcomes == [Outcome.CONFIRMED, Outcome.CONFIRMED]
