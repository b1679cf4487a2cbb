"""Exchanges and queues that are full, missing or refuse a message."""

import asyncio

import pytest

from bridge.core.message import PARKED, UNROUTED
from tests.helpers import amqp
from tests.system.faults.process import until
from tests.system.faults.proxy import Proxy
from tests.system.faults.world import FULL, PATIENT, QUORUM, ROW_LIMIT, size

pytestmark = ROW_LIMIT

LIMIT = {"x-overflow": "reject-publish"}
MOST = 30
HUNDRED = {"sequential": 100, "concurrent": 0, "most": 1, "rate": 200}
SALES = {"event": "sale.changed", "first_key": 1000}


async def test_hovering_at_the_limit(world):
    """A queue at its limit, with a slow consumer, holds up nobody else and loses nothing."""
    async with world(queue=False, **PATIENT) as row:
        await row.bind("contacts", "contact.#")
        await row.bind("sales", "sale.#", **LIMIT, **{"x-max-length": MOST})
        row.consume("contacts")
        sales = row.senders(event="sale.changed", first_key=1000)
        row.consume("sales", may_take=lambda: too_many(sales, row.consumers["sales"]))
        async with row.senders() as contacts, sales:
            await row.logs("event_refused", times=size(10, 100))  # all that a minute's log shows
            await row.counts_to("drained_total", size(10, 200))
        counts = await row.counts("a queue hovering at its reject-publish limit")

        assert counts.is_clean
        assert {"published"} == set(contacts.statuses)
        assert {"published", "spooled"} == set(sales.statuses)
        assert 0 == row.consumers[PARKED].taken


def too_many(senders, consumer):
    """Return whether more events are under way than the queue may hold, and some to spare."""
    return senders.statuses.total() - consumer.taken > MOST + 10


async def test_full_for_too_long(world):
    """What a full queue refuses at every try is parked, and nobody else is held up."""
    tries = size(1, 3)
    async with world(queue=False, BRIDGE_SPOOL__REFUSED_TRIES=f"{tries}", **PATIENT) as row:
        await row.bind("contacts", "contact.#")
        await row.bind("sales", "sale.#", **LIMIT, **{"x-max-length": 1})
        row.consume("contacts")
        sales = row.senders(event="sale.changed", first_key=1000, sequential=20, most=1)
        async with row.senders() as contacts, sales:
            await row.counts_to("parked_total", 15)
        row.consume("sales")
        counts = await row.counts("a queue full for longer than the tries")

        assert counts.is_clean
        assert {"published"} == set(contacts.statuses)
        assert sales.never_failed
        parked = sales.statuses.total() - row.consumers["sales"].taken
        assert parked >= 15
        assert {"refused": parked} == row.consumers[PARKED].reasons


async def test_full_queue_and_full_spool(world):
    """A full queue whose events have had their share of the disk: theirs are refused, no others."""
    room = {"BRIDGE_SPOOL__MAX_BYTES": f"{1024 * 1024}"}
    async with world(queue=False, **PATIENT, **room) as row:
        await row.bind("contacts", "contact.#")
        await row.bind("sales", "sale.#", **LIMIT, **{"x-max-length": 1})
        row.consume("contacts")
        async with row.senders(**{**HUNDRED, **SALES, "padding": 20_000}) as sales:
            pass
        async with row.senders(**{**HUNDRED, "sequential": 30}) as contacts:
            pass
        status = await row.bridge.status()
        assert status["ready"]
        assert [("sale.changed", True)] == [(at["key"], at["full"]) for at in status["aside"]]
        row.consume("sales")
        counts = await row.counts("a full queue, and its share of the disk is full")

        assert counts.is_clean
        assert {"published": 30} == contacts.statuses
        assert sales.given_up >= 30
        assert 1 == row.bridge.log.counts["place_full"]


async def test_nobody_bound(world):
    """What no queue is bound for is in superoffice.unrouted, and the sender is told."""
    async with world(queue=False, **PATIENT) as row:
        async with row.senders() as senders:
            await row.accepts(300)
        counts = await row.counts("nobody bound")

        assert counts.is_clean
        assert {"unrouted"} == set(senders.statuses)
        assert counts.accepted == row.consumers[UNROUTED].taken


async def test_returned_altered(world, node):
    """A broker that changes headers on entry costs no connection, and each event is quarantined."""
    async with Proxy(node.port) as proxy:
        proxy.alters = True
        async with world(queue=False, broker_url=proxy.url, **PATIENT) as row:
            async with row.senders() as senders:
                await row.accepts(size(100, 3000))
            counts = await row.counts("nobody bound, and a broker that changes headers on entry")

            assert counts.is_clean
            assert {"unrouted"} == set(senders.statuses)
            assert counts.accepted == row.consumers[UNROUTED].taken == proxy.altered
            assert 1 == row.bridge.log.counts["broker_connected"]


async def test_exchange_deleted(world, node):
    """The bridge declares it again; what comes before the consumer has bound again is unrouted."""
    async with world() as row:
        async with row.senders() as senders:
            await row.accepts(200)
            await asyncio.to_thread(delete_exchange, node.url)
            await row.logs("broker_connected", times=2)
            await row.counts_to("unrouted_total", 50)
            await row.bind("everything", "#", **QUORUM)
            await row.recovers()
        counts = await row.counts("exchange deleted while running")

        assert counts.is_clean
        assert row.consumers[UNROUTED].taken > 0
        assert senders.never_failed


def delete_exchange(url):
    """Delete the exchange that the bridge publishes to."""
    with amqp(url) as channel:
        channel.exchange_delete("superoffice")


ONE = {**HUNDRED, **SALES, "sequential": 1, "rate": 2}
"""Some time in the half second that the hundred take."""


USER = "rabbit_auth_backend_internal"
CONTACTS = r'<<"superoffice">>, <<"^contact\\.">>, <<".*">>, <<"tests">>'


def permit_only_contacts(node):
    """Let the broker close a channel (403) on which anything else is published."""
    node.evaluate(f'ok = {USER}:set_topic_permissions(<<"guest">>, <<"/">>, {CONTACTS}).')


def permit_all(node):
    """Permit what is usual."""
    node.evaluate(f'ok = {USER}:clear_topic_permissions(<<"guest">>, <<"/">>, <<"tests">>).')


async def test_channel_closed_by_one_message(world, node):
    """Of a hundred good messages and one that makes the broker close the channel, one is parked."""
    async with world(BRIDGE_SPOOL__REFUSED_TRIES=f"{size(1, 2)}") as row:
        await asyncio.to_thread(permit_only_contacts, node)
        try:
            async with row.senders(**HUNDRED) as good, row.senders(**ONE) as bad:
                pass
            counts = await row.counts("one message that closes the channel among 100 good ones")
        finally:
            await asyncio.to_thread(permit_all, node)

        assert counts.is_clean
        assert good.never_failed
        assert bad.never_failed
        assert 101 == counts.delivered
        assert {"refused": 1} == row.consumers[PARKED].reasons


async def test_key_that_closes_the_channel(world, node):
    """What may not be published closes one channel, however many records there are of it."""
    many = {**HUNDRED, **SALES, "sequential": size(6, 60), "rate": size(6, 2)}
    async with world() as row:
        await asyncio.to_thread(permit_only_contacts, node)
        try:
            sales = row.senders(**many)
            async with row.senders(rate=20) as contacts:
                async with sales:
                    await row.logs("place_set_aside")
                    direct = await row.total("published_total")
                    await row.counts_to("published_total", direct + size(10, 300))
                closed = row.bridge.log.counts["channel_closed"]
        finally:
            await asyncio.to_thread(permit_all, node)
        counts = await row.counts("a key that closes the channel, and ever new records of it")

        assert counts.is_clean
        assert sales.never_failed
        assert contacts.never_failed
        assert {"closes"} == {row.bridge.log.latest["place_set_aside"]["why"]}
        assert 2 >= closed
        assert size(6, 60) <= counts.delivered - contacts.statuses.total()
        assert 0 == row.consumers[PARKED].taken


async def test_connection_closed_by_one_message(world, node):
    """Of a hundred good messages and one that ends the whole connection, one is parked."""
    async with (
        Proxy(node.port) as proxy,
        world(broker_url=proxy.url, BRIDGE_SPOOL__REFUSED_TRIES=f"{size(1, 2)}") as row,
    ):
        proxy.poison = b"\x0bsuperoffice\x0csale.changed"
        async with row.senders(**HUNDRED) as good, row.senders(**ONE) as bad:
            pass
        counts = await row.counts("one message that closes the connection among 100 good ones")

        assert counts.is_clean
        assert good.never_failed
        assert bad.never_failed
        assert 101 == counts.delivered
        assert {"refused": 1} == row.consumers[PARKED].reasons
        assert 5 >= proxy.poisoned
        assert 4 >= row.bridge.log.counts["broker_connected"]


@pytest.mark.skipif(not FULL, reason="tests/broker/test_limits.py is quicker: FAULTS=full")
async def test_one_channel(world, node):
    """A user that may have one channel: while a queue refuses, all else goes on directly."""
    await asyncio.to_thread(add_user, node, "one", '{"max-channels": 1}')
    url = node.url.replace("guest:guest", "one:secret")
    try:
        async with world(queue=False, broker_url=url, **PATIENT) as row:
            await row.bind("contacts", "contact.#")
            await row.bind("sales", "sale.#", **LIMIT, **{"x-max-length": 1})
            row.consume("contacts")
            sales = row.senders(event="sale.changed", first_key=1000, sequential=20, most=1)
            async with row.senders() as contacts, sales:
                await row.logs("channels_scarce")
                direct = await row.total("published_total")
                await row.counts_to("published_total", direct + 300)
                spooled = contacts.statuses["spooled"]
                await row.counts_to("published_total", direct + 1000)
                assert spooled == contacts.statuses["spooled"]
            row.consume("sales")
            counts = await row.counts("a queue that refuses, and a user with one channel")
    finally:
        await asyncio.to_thread(node.ctl, "delete_user", "one")

    assert counts.is_clean
    assert contacts.never_failed
    assert sales.never_failed
    assert 2 >= row.bridge.log.counts["broker_connected"]


def add_user(node, name, limits):
    """Add a user with limits."""
    node.ctl("add_user", name, "secret")
    node.ctl("set_permissions", name, ".*", ".*", ".*")
    node.ctl("set_user_limits", name, limits)


@pytest.mark.skipif(not FULL, reason="takes minutes: FAULTS=full")
async def test_too_large_for_the_broker(world, node):
    """What is too large even to be parked waits on disk until the broker's limit is raised."""
    await asyncio.to_thread(limit_messages, node, 10_000)
    try:
        async with world(BRIDGE_SPOOL__REFUSED_TRIES="2") as row:
            async with row.senders(**HUNDRED), row.senders(**ONE, padding=20_000):
                pass
            await until(lambda: row.ledger.counts().delivered == 100, what="100 delivered")
            await row.logs("event_refused", times=2)
            await row.logs("parking_refused")
            await asyncio.to_thread(limit_messages, node, 128 * 1024 * 1024)
            counts = await row.counts("one message that is too large for the broker")

            assert counts.is_clean
            assert {"refused": 1} == row.consumers[PARKED].reasons
    finally:
        await asyncio.to_thread(limit_messages, node, 128 * 1024 * 1024)


def limit_messages(node, size):
    """Let the broker close a channel (406) on which a larger message is published."""
    node.evaluate(f"application:set_env(rabbit, max_message_size, {size}).")


@pytest.mark.skipif(not FULL, reason="leaves a queue that cannot be used: FAULTS=full")
async def test_queue_that_never_confirms(world, node):
    """A quorum queue without a majority stops nobody else, also after hundreds of its events."""
    async with world(queue=False) as row:
        await row.bind("contacts", "contact.#", **QUORUM)
        await row.bind("sales", "sale.#", **QUORUM)
        row.consume("contacts")
        await asyncio.to_thread(lose_majority, node, "sales")
        sales = row.senders(event="sale.changed", first_key=1000)
        async with row.senders() as contacts, sales:
            await row.logs("place_set_aside")
            await row.accepts(size(200, 1000))  # RabbitMQ has stopped reading after some 400
            direct = await row.total("published_total")
            await row.accepts(100)
            async with row.less_and_less_load():
                await row.counts_to("published_total", direct + 30)

        assert 0 == row.bridge.log.counts["broker_silent"]
        assert {"published", "spooled"} >= set(contacts.statuses)
        assert {"spooled"} == set(sales.statuses)


def lose_majority(node, queue):
    """Let a quorum queue have a second member, on a node that there is not."""
    server, ghost = f"{{'%2F_{queue}', node()}}", f"{{'%2F_{queue}', 'rabbit@nowhere'}}"
    node.evaluate(f"ra:add_member({server}, {ghost}, 500).")
