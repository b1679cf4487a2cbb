"""What senders do: hang up, repeat themselves, crowd on one record, or say nothing at all."""

import asyncio
import random
import resource
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager, suppress

import pytest

from tests.faults.client import Connection
from tests.faults.ledger import CONCURRENT
from tests.faults.senders import ANSWER_SECONDS
from tests.faults.webhooks import Webhooks
from tests.faults.world import PATIENT, ROW_LIMIT, size

pytestmark = ROW_LIMIT

HOT = 777
"""The key of the record that everybody changes."""


async def test_hang_ups(world):
    """A client that hangs up in mid-request disturbs nobody, and is not answered for."""
    async with world() as row:
        async with row.senders() as senders:
            await hang_up(row, times=size(300, 10_000))
        counts = await row.counts("client disconnects in mid-request")

        assert counts.is_clean
        assert senders.never_failed
        assert 0 == row.bridge.log.counts["request_failed"]
        assert 0 == row.bridge.log.counts["not_json"]


async def hang_up(row, *, times):
    """Send requests up to some byte, sometimes the last one, and hang up without reading."""
    for _ in range(times):
        event_id, number = row.ledger.issue(CONCURRENT, 999)
        request = Webhooks().request(event_id, key=999, number=number)
        _, writer = await asyncio.open_connection("127.0.0.1", row.bridge.port)
        writer.write(request[: random.randrange(1, len(request) * 5 // 4)])
        with suppress(ConnectionError):
            await writer.drain()
            if random.random() < 0.5:
                writer.close()
                await writer.wait_closed()
        writer.transport.abort()


async def at_once(clients, requests):
    """Send requests in parallel."""
    return await asyncio.gather(*map(Connection.send, clients, requests))


async def in_turn(clients, requests):
    """Send requests one after the other."""
    return [await client.send(each) for client, each in zip(clients, requests, strict=True)]


@pytest.mark.parametrize("how", [at_once, in_turn])
async def test_three_attempts(world, how):
    """Three attempts of one event make one message and three 200s."""
    async with world(**PATIENT) as row:
        clients = [Connection(row.bridge.port, seconds=ANSWER_SECONDS) for _ in range(3)]
        statuses = [await thrice(row, clients, key, how) for key in range(size(100, 1000))]
        for client in clients:
            client.close()
        counts = await row.counts(f"one event three times, {how.__name__.replace('_', ' ')}")

        assert counts.is_clean
        assert 0 == counts.duplicates
        assert {("duplicate", "duplicate", "published")} == set(statuses)


async def thrice(row, clients, key, how):
    """Send an event three times; return what was answered."""
    event_id, number = row.ledger.issue(CONCURRENT, key)
    requests = [Webhooks().request(event_id, key=key, number=number, retry=n) for n in range(3)]
    replies = await how(clients, requests)
    row.ledger.accept(number)
    return tuple(sorted(reply.body.split(b'"')[3].decode() for reply in replies))


async def test_hot_record(world):
    """Sixty-four senders of one record: all of it arrives, each once."""
    async with world() as row:
        async with row.senders(sequential=0, concurrent=1, at_once=64) as senders:
            await row.accepts(500)
        counts = await row.counts("a hot record, 64 senders")

        assert counts.is_clean
        assert 0 == counts.duplicates or row.gave_up_a_connection
        assert senders.never_failed


async def test_hot_record_in_an_outage(world, node):
    """What 64 senders of one record have spooled comes in its order, and keeps nobody waiting."""
    async with world() as row:
        arrived: list[int] = []
        row.ledger.order = arrived
        await asyncio.to_thread(node.freeze)
        crowd = row.senders(sequential=0, concurrent=1, at_once=64, first_key=HOT)
        async with crowd, row.senders(sequential=20, concurrent=0):
            await row.spools(size(300, 20_000))
            hot, others = in_the_spool(row.bridge.spool)
            await asyncio.to_thread(node.thaw)
            await row.recovers()
        counts = await row.counts("a hot record in an outage, 64 senders beside others")

        assert counts.is_clean
        assert crowd.never_failed
        place = {number: place for place, number in enumerate(arrived)}
        assert hot == sorted(hot, key=place.__getitem__)
        assert max(place[number] for number in others) < place[hot[-1]]


def in_the_spool(path):
    """Return the numbers of the hot record's events and of all others, in order of acceptance."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT message_id FROM event ORDER BY seq").fetchall()
    events = [event.split("-") for (event,) in rows]
    hot = f"{CONCURRENT}{HOT}"
    return (
        [int(number) for record, number in events if record == hot],
        [int(number) for record, number in events if record != hot],
    )


async def test_idle_and_slow_connections(world):
    """A thousand connections that say nothing, or too little, take nothing from the others."""
    with many_files_open():
        async with world(**PATIENT) as row:
            async with crowd(row.bridge.port, 1000), row.senders() as senders:
                await row.accepts(500)
            counts = await row.counts("1,000 idle or slow connections")

        assert counts.is_clean
        assert {"published"} == set(senders.statuses)


@asynccontextmanager
async def crowd(port, number):
    """Hold connections open; every other one sends a byte of a request now and then."""
    request = Webhooks().request("crowd", key=1, number=1)
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    writers = [writer for _, writer in streams]

    async def trickle():
        for index in range(len(request)):
            for writer in writers[::2]:
                writer.write(request[index : index + 1])
                await asyncio.sleep(0.002)

    trickling = asyncio.create_task(trickle())
    try:
        yield
    finally:
        trickling.cancel()
        for writer in writers:
            writer.transport.abort()


@contextmanager
def many_files_open():
    """Let this process and those it starts open files for a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
