"""A connection that refuses all of a kind from its first message on is left for another one."""

import asyncio
from typing import Any

import pytest

from bridge.broker import refusals, renewal
from bridge.broker.connection import Connection
from bridge.core.publish import Outcome
from tests.broker.peer import SILENCE, Peer
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import consumer_queue, eventually, message

GOOD = (Outcome.CONFIRMED, Outcome.NOT_SENT)

FULL: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
FULL_NOW: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Renew after half a second."""
    monkeypatch.setattr(renewal, "REFUSING_SECONDS", 0.5)


async def refused(publisher, *keys, seconds):
    """Return the outcomes of messages that are published again and again for a while."""
    end = asyncio.get_running_loop().time() + seconds
    outcomes = set()
    while asyncio.get_running_loop().time() < end:
        outcomes.update([await outcome_of(publisher, message(1, key=key)) for key in keys])
        await asyncio.sleep(0.02)
    return outcomes


async def test_connection_that_only_refuses_is_renewed(publishing, broker):
    """What refuses all of a kind from the first on may be the channel; others lose nothing."""
    consumer_queue(broker, "full", "full.created", **FULL)
    consumer_queue(broker, "all", "contact.created")
    async with publishing() as publisher:
        outcomes = set()
        while publisher.connection < 3:
            kinds = [message(1, key="full.created"), message(2)]
            outcomes.update(await publish_all(publisher, kinds))
            await asyncio.sleep(0.02)

    assert {Outcome.REFUSED, Outcome.CONFIRMED, Outcome.NOT_SENT} == outcomes  # never UNKNOWN


async def test_connection_to_a_queue_that_is_full_now_is_kept(publishing, broker):
    """A queue that took something on this channel refuses because it is full: nothing to renew."""
    consumer_queue(broker, "full", "full.created", **FULL_NOW)
    async with publishing() as publisher:
        assert await outcome_of(publisher, message(0, key="full.created")) is Outcome.CONFIRMED
        assert {Outcome.REFUSED} == await refused(publisher, "full.created", seconds=1.5)
        assert 1 == publisher.connection


async def test_kinds_beyond_those_that_are_remembered(publishing, broker, monkeypatch):
    """With a kind for each record there are too many to remember: a good channel stays one."""
    monkeypatch.setattr(refusals, "_PLACES", 2)
    consumer_queue(broker, "full", "full.*", **FULL)
    consumer_queue(broker, "all", "contact.*")
    async with publishing() as publisher:
        kinds = [message(number, key=f"contact.{number}") for number in range(3)]
        assert {Outcome.CONFIRMED} == set(await publish_all(publisher, kinds))
        assert {Outcome.REFUSED} == await refused(publisher, "full.1", seconds=1.5)
        assert 1 == publisher.connection


async def test_more_kinds_refused_than_are_remembered(publishing, broker, monkeypatch):
    """However many a channel refuses, those that it remembers show what it is."""
    monkeypatch.setattr(refusals, "_PLACES", 2)
    consumer_queue(broker, "full", "full.*", **FULL)
    keys = [f"full.{number}" for number in range(5)]
    async with publishing() as publisher:
        await refused(publisher, *keys, seconds=1)
        await eventually(lambda: publisher.connection == 2)


async def test_only_renewals_make_patient(publishing, broker, monkeypatch):
    """Connections that never served were no renewals: the patience doubles once."""
    consumer_queue(broker, "full", "full.created", **FULL)
    real, failures = Connection.channel, iter(range(2))

    async def channel(connection):
        if next(failures, None) is not None:
            raise TimeoutError
        return await real(connection)

    async with publishing() as publisher:
        patience = publisher._renewal.patience
        monkeypatch.setattr(Connection, "channel", channel)
        await refused(publisher, "full.created", seconds=1)
        await eventually(lambda: publisher.is_ready)
        assert (publisher.connection, publisher._renewal.patience) == (2, 2 * patience)


async def test_confirm_that_never_comes(publishing, monkeypatch):
    """What has lost it learns so: the connection is renewed, later each time, and others go on."""
    monkeypatch.setattr(renewal, "OVERDUE_SECONDS", 0.3)

    def confirm_others(published):
        if published.method.routing_key != "lost.confirm":
            published.ack()

    async with (
        Peer(on_publish=confirm_others) as peer,
        publishing(urls=(peer.url,), confirm_deadline=0.2) as publisher,
    ):
        waits = []
        for connection in (1, 2):
            begun = asyncio.get_running_loop().time()
            lost = publisher.submit(message(1, key="lost.confirm"))
            while lost.outcome is None:
                assert asyncio.get_running_loop().time() < begun + 10
                assert await outcome_of(publisher, message(2)) in GOOD
                await asyncio.sleep(0.02)
            waits.append(asyncio.get_running_loop().time() - begun)
            assert (Outcome.UNKNOWN, connection) == (lost.outcome, publisher.connection)
            await eventually(lambda: publisher.is_ready)

    assert 0.3 <= waits[0]
    assert 0.6 <= waits[1]


async def test_stop_in_a_renewal(publishing, node, broker, monkeypatch):
    """A stop does not wait for what is in flight on a connection that is being left."""
    monkeypatch.setattr(renewal, "REFUSING_SECONDS", 60)
    consumer_queue(broker, "full", "full.created", **FULL)
    try:
        async with publishing(confirm_deadline=20.0) as publisher:
            await refused(publisher, "full.created", seconds=0.5)
            await asyncio.to_thread(node.freeze)
            unsettled = publisher.submit(message(2))
            monkeypatch.setattr(renewal, "REFUSING_SECONDS", 0.2)
            await eventually(lambda: not publisher.is_up)
            assert 1 == publisher.in_flight
            stopped = asyncio.get_running_loop().time()
    finally:
        await asyncio.to_thread(node.thaw)

    assert asyncio.get_running_loop().time() - stopped < 10
    assert unsettled.outcome is Outcome.UNKNOWN


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
