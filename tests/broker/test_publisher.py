"""Confirmed publishing on a real RabbitMQ: every outcome belongs to its own message."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from bridge.broker import connection, session, topology_check
from bridge.broker.errors import ANSWER_SECONDS
from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome, Publish
from bridge.dev.rabbitmq import free_port
from tests.broker.peer import Peer
from tests.helpers import amqp, consumer_queue, drain, eventually, ids, message
from tests.system.faults.proxy import Proxy


async def outcome_of(publisher, *messages, seconds=20.0):
    """Publish at once and return the outcomes in order, or the one outcome."""
    publishes = [publisher.submit(m) for m in messages]
    await eventually(lambda: all(p.outcome is not None for p in publishes), seconds=seconds)
    outcomes = [publish.outcome for publish in publishes]
    return outcomes[0] if len(messages) == 1 else outcomes


async def publish_all(publisher, messages):
    """Publish a list at once and return the outcomes in order."""
    return await outcome_of(publisher, *messages)


async def test_confirmed_message_is_in_its_queue(publishing, broker):
    """CONFIRMED means that a consumer finds the message, with every property."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        outcome = await outcome_of(publisher, message(7))

    [(method, properties, body)] = drain(broker, "all")
    assert outcome is Outcome.CONFIRMED
    assert ("superoffice", "contact.created") == (method.exchange, method.routing_key)
    assert b'{"number":7}' == body
    assert 2 == properties.delivery_mode
    assert "event-7" == properties.message_id
    assert "com.superoffice.contact.created" == properties.type
    assert "superoffice-bridge" == properties.app_id
    assert properties.content_type == message(7).content_type
    assert 1_772_442_927 == properties.timestamp
    assert {"entity": "contact", "endpoint": "superoffice", "primary_key": 7} == properties.headers


async def test_outcomes_under_concurrency(publishing, broker):
    """Of 300 at once, a third is unroutable and a third refused: each is told its own outcome."""
    consumer_queue(broker, "all", "contact.created")
    full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
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

    assert [Outcome.CONFIRMED, Outcome.UNROUTED] * 100 == outcomes
    endpoints = [properties.headers["endpoint"] for _, properties, _ in drain(broker, UNROUTED)]
    assert {"bergen": 100} == Counter(endpoints)


async def test_unverified_exchange_is_never_published_to(publishing, broker):
    """A message for an exchange that was not verified does not cost the others their channel."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        channel = publisher._session.channel
        messages = [message(n, exchange="missing" if n == 10 else "superoffice") for n in range(30)]
        outcomes = await publish_all(publisher, messages)
        assert publisher._session.channel is channel

    assert outcomes == [Outcome.NOT_SENT if n == 10 else Outcome.CONFIRMED for n in range(30)]


async def test_body_beyond_frame_max(publishing, broker):
    """A body of several frames arrives whole, and so does one that comes back."""
    consumer_queue(broker, "all", "contact.created")
    body = bytes(range(256)) * 4096
    async with publishing() as publisher:
        outcomes = await publish_all(
            publisher, [message(1, body=body), message(2, key="nobody.bound", body=body)]
        )

    assert [Outcome.CONFIRMED, Outcome.UNROUTED] == outcomes
    assert [found for _, _, found in drain(broker, "all")] == [body]
    assert [found for _, _, found in drain(broker, UNROUTED)] == [body]


async def test_invalid_message_shifts_no_outcome(publishing, broker):
    """What AMQP cannot carry is refused before it takes a delivery tag."""
    consumer_queue(broker, "all", "contact.created")
    invalid = message(1, key="x" * 256)
    messages = [message(0), invalid, message(2, key="nobody.bound"), message(3)]
    async with publishing() as publisher:
        outcomes = await publish_all(publisher, messages)

    assert [
        "CONFIRMED",
        "REFUSED",
        "UNROUTED",
        "CONFIRMED",
    ] == [outcome.name for outcome in outcomes]


async def test_second_url_is_used_when_the_first_is_dead(publishing, broker):
    """The list of URLs is tried in order."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with publishing(urls=(dead, broker)) as publisher:
        assert await outcome_of(publisher, message(1)) is Outcome.UNROUTED


async def test_lost_node_is_not_asked_first(publishing, node, broker, monkeypatch):
    """After a loss it is the next URL's turn: the lost node may be one that takes long to fail."""
    monkeypatch.setattr(session, "_SILENT_SECONDS", 1.0)
    async with (
        Proxy(node.port) as proxy,
        publishing(urls=(proxy.url, broker), confirm_deadline=0.3) as publisher,
    ):
        proxy.swallow()
        lost = publisher.submit(message(1))
        await eventually(lambda: lost.outcome is Outcome.UNKNOWN)
        await eventually(lambda: publisher.is_ready, seconds=ANSWER_SECONDS - 1)
        assert await outcome_of(publisher, message(2)) is Outcome.UNROUTED


@pytest.mark.parametrize("answers", [0, 1000, 1500])
async def test_node_that_falls_silent_is_given_up(publishing, node, broker, monkeypatch, answers):
    """One that stops answering while it is connected to, or asked, holds up nobody for long."""
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(topology_check, "ANSWER_SECONDS", 0.5)
    async with Proxy(node.port) as proxy:
        proxy.ration(answers)
        async with publishing(urls=(proxy.url, broker)) as publisher:
            assert await outcome_of(publisher, message(1)) is Outcome.UNROUTED


async def test_no_broker_at_start(publishing):
    """Without a broker the publisher runs, says so, and takes nothing."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with publishing(urls=(dead,), wait=False) as publisher:
        await asyncio.sleep(0)
        outcome = await outcome_of(publisher, message(1))

    assert outcome is Outcome.NOT_SENT
    assert ("down", "pending", False) == (publisher.broker, publisher.topology, publisher.is_ready)


async def test_killed_broker_comes_back(publishing, node, broker):
    """After kill -9 everything in flight is unknown, then away, and later all is well again."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)  # so that something is in flight when it dies
        lost = publisher.submit(message(1))
        await asyncio.to_thread(node.kill)
        await eventually(lambda: lost.outcome is Outcome.UNKNOWN)
        assert await outcome_of(publisher, message(2)) is Outcome.NOT_SENT
        await asyncio.to_thread(node.restart)
        await eventually(lambda: publisher.is_ready)
        assert await outcome_of(publisher, message(3)) is Outcome.CONFIRMED

    assert "event-3" in ids(broker, "all")


async def test_blocked_broker_is_away(publishing, node, broker):
    """connection.blocked turns messages away at once; the unresolved one is confirmed later."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        await asyncio.to_thread(node.raise_alarm)
        try:
            first = publisher.submit(message(1))  # the broker tells only those who publish
            await eventually(lambda: publisher.broker == "blocked")
            second = await outcome_of(publisher, message(2))
        finally:
            await asyncio.to_thread(node.clear_alarm)
        await eventually(lambda: first.outcome)
        await eventually(lambda: publisher.is_ready)

    assert (Outcome.CONFIRMED, Outcome.NOT_SENT) == (first.outcome, second)
    assert ["event-1"] == ids(broker, "all")


async def test_frozen_broker_is_noticed(publishing, node, broker, monkeypatch):
    """Nothing confirmed within the deadline: unknown, then away, then the connection is cut."""
    monkeypatch.setattr(session, "_SILENT_SECONDS", 1.0)
    async with publishing(confirm_deadline=0.3) as publisher:
        first = publisher._session.channel
        await asyncio.to_thread(node.freeze)
        try:
            lost = publisher.submit(message(1))
            await eventually(lambda: publisher.broker == "down")
            away = await outcome_of(publisher, message(2))
            unresolved = lost.outcome
            await eventually(lambda: publisher._session is None)
        finally:
            await asyncio.to_thread(node.thaw)
        await eventually(lambda: publisher.is_ready)
        assert publisher._session.channel is not first

    assert (None, Outcome.UNKNOWN, Outcome.NOT_SENT) == (unresolved, lost.outcome, away)


async def test_exchange_deleted_while_running(publishing, broker):
    """The broker closes the channel; the exchange is declared again and publishing goes on."""
    async with publishing() as publisher:
        with amqp(broker) as channel:
            channel.exchange_delete("superoffice")
        publishes = [publisher.submit(message(n)) for n in range(50)]
        await eventually(lambda: all(p.outcome for p in publishes))
        await eventually(lambda: publisher.is_ready)
        outcome = await outcome_of(publisher, message(1))

    assert {(Outcome.UNKNOWN, True)} == {(p.outcome, p.suspect) for p in publishes}
    assert outcome is Outcome.UNROUTED


async def test_heartbeat_is_short(publishing, node):
    """The heartbeat that is agreed with the broker lies between 5 and 10 seconds."""
    async with publishing():
        timeouts = await asyncio.to_thread(
            node.ctl, "list_connections", "--quiet", "--no-table-headers", "timeout"
        )

    assert ["5"] == timeouts.split()


async def test_stopping_settles_what_is_in_flight(publishing, node):
    """A publisher that is stopped leaves nothing unsettled."""
    async with publishing() as publisher:
        await asyncio.to_thread(node.freeze)
        publishes = [publisher.submit(message(n)) for n in range(3)]
    await asyncio.to_thread(node.thaw)

    assert [Outcome.UNKNOWN] * 3 == [publish.outcome for publish in publishes]


async def test_settled_publish_calls_back_at_once(publishing):
    """Who asks after the outcome is final is told it, too."""
    told: list[Publish] = []
    async with publishing() as publisher:
        publish = publisher.submit(message(1, exchange="missing"))
        publish.on_settled(told.append)

    assert told == [publish]


async def test_single_message_at_the_close_of_a_channel_is_refused(publishing, broker):
    """When the broker closes the channel with one message in flight, that one is why."""
    async with publishing() as publisher:
        with amqp(broker) as channel:
            channel.exchange_delete("superoffice")
        outcome = await outcome_of(publisher, message(1))

    assert outcome is Outcome.REFUSED


async def test_write_that_fails(publishing, monkeypatch):
    """A part of a frame may be on the wire: that connection is over, and the next one is sound."""

    def fail(_):
        raise MemoryError

    async with publishing() as publisher:
        first = publisher.connection
        monkeypatch.setattr(publisher._session.connection._transport._writer, "write", fail)
        lost = publisher.submit(message(1))
        await eventually(lambda: lost.outcome)
        await eventually(lambda: publisher.connection > first and publisher.is_ready)
        outcome = await outcome_of(publisher, message(2))

    assert (Outcome.UNKNOWN, Outcome.UNROUTED) == (lost.outcome, outcome)


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


async def test_urls_go_on_when_the_task_starts_again(publishing, broker, monkeypatch):
    """An error that nobody expects must not lead back to the first URL for ever."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with publishing(urls=(dead, broker), wait=False) as publisher:
        pass
    asked = []

    async def fail(url):
        asked.append(url)
        raise ZeroDivisionError

    monkeypatch.setattr(publisher, "_serve", fail)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await publisher.run()
    assert {dead, broker} == set(asked)
