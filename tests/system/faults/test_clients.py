"""What senders do: hang up, repeat themselves, crowd on one record, or say nothing at all."""

import asyncio
import os
import random
import resource
import sqlite3
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import pytest

from bench.stats import percentile
from tests.authority import Authority
from tests.system.faults.client import Connection
from tests.system.faults.ledger import CONCURRENT, parsed
from tests.system.faults.senders import ANSWER_SECONDS
from tests.system.faults.strangers import KINDS, strangers
from tests.system.faults.webhooks import Webhooks
from tests.system.faults.world import FULL, PATIENT, ROW_LIMIT, size

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
    webhooks = Webhooks()  # one event: all of its attempts have the same bytes
    requests = [webhooks.request(event_id, key=key, number=number, retry=n) for n in range(3)]
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
    events = [parsed(message_id) for (message_id,) in rows]
    hot = f"{CONCURRENT}{HOT}"
    return (
        [number for record, number in events if record == hot],
        [number for record, number in events if record != hot],
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


SHORT = {
    "resting after a 404",
    "owing a body nobody wants",
    "pipelining unsigned events",
    "hanging up at once",
    "half a handshake",
    "pouring behind a connect",
    "chunks of one byte",
    "newcomers with tiny chunks",
    "a head without measure",
}
"""The kinds of strangers of the short form."""


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_strangers(world, tls, tmp_path):
    """Beside clients of every kind that know no secret a signed event is answered within a second.

    Each event comes on a connection of its own, which is the worst case, and so does each probe.
    """
    authority = Authority(tmp_path)
    names = [name for name in KINDS if (FULL or name in SHORT) and tls <= KINDS[name].tries_tls]
    environ = certificate(authority) if tls else {}
    async with world(**PATIENT, **environ) as row:
        secure = authority.client() if tls else None
        quiet = await answers(row, secure)
        memory = resident(row.bridge.pid)
        beside = {}
        for name in names:
            async with strangers(name, row.bridge.port, tls=tls):
                beside[name] = await answers(row, secure)
        more_memory = resident(row.bridge.pid) - memory
        row.figures = {"quiet": quiet, **beside}
        counts = await row.counts(f"strangers, {'https' if tls else 'http'}")

    assert counts.is_clean
    late = {name: taken for name, taken in beside.items() if percentile(taken, 99) > 1}
    assert not late, f"quiet: {max(quiet):.3f} s"
    assert more_memory < 200 * 1024 * 1024  # a thousand connections have some 100 KB each


def resident(pid):
    """Return how many bytes of memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def certificate(authority):
    """Return the settings of a listener that speaks TLS."""
    pair = authority.issue("127.0.0.1")
    return {
        "BRIDGE_SERVER__TLS_CERTIFICATE": f"{pair.certificate}",
        "BRIDGE_SERVER__TLS_KEY": f"{pair.key}",
    }


async def answers(row, tls):
    """Return the seconds that signed events and probes took, in ascending order."""
    return sorted([await answer(row, tls) for _ in range(size(110, 300))])


async def answer(row, tls):
    """Send an event on a new connection and ask for the bridge's health; return the longer time."""
    event_id, number = row.ledger.issue(CONCURRENT, 1)
    request = Webhooks().request(event_id, key=1, number=number)
    sender = Connection(row.bridge.port, seconds=ANSWER_SECONDS, tls=tls)
    taken = await asyncio.gather(timed(sender, request), probed(row))
    row.ledger.accept(number)
    return max(taken)


async def probed(row):
    """Ask for the bridge's health on a new connection; return how many seconds it took."""
    probe = Connection(row.bridge.admin_port, seconds=ANSWER_SECONDS)
    return await timed(probe, b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n")


async def timed(connection, request):
    """Return how many seconds it took until a 200 came, and hang up."""
    begun = asyncio.get_running_loop().time()
    reply = await connection.send(request)
    connection.close()
    assert reply is not None, repr(connection.failure)
    assert 200 == reply.status
    return asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize(
    "name", ["resting after a probe", "owing a body nobody wants", "metrics without end"]
)
async def test_strangers_of_the_admin_listener(world, name):
    """Events are answered beside them, and probes get in, without a token."""
    async with world(**PATIENT) as row:
        async with strangers(name, row.bridge.admin_port):
            taken = await answers(row, None)
        counts = await row.counts(f"strangers of the admin listener, {name}")

    assert counts.is_clean
    assert percentile(taken, 99) <= 1


async def test_no_descriptor_is_left(world):
    """While the system has none for a new connection the log says so, and the others go on."""
    async with world(**PATIENT) as row:
        async with row.senders() as senders:
            await row.accepts(50)
            limits = resource.prlimit(row.bridge.pid, resource.RLIMIT_NOFILE)
            used = len(os.listdir(f"/proc/{row.bridge.pid}/fd"))
            resource.prlimit(row.bridge.pid, resource.RLIMIT_NOFILE, (used, limits[1]))
            late = Connection(row.bridge.port)
            asking = asyncio.create_task(late.get("/nowhere"))
            await row.logs("accept_failed")
            await row.accepts(50)
            resource.prlimit(row.bridge.pid, resource.RLIMIT_NOFILE, limits)
            reply = await asking
            late.close()
        counts = await row.counts("no descriptor is left")

    assert reply is not None
    assert 404 == reply.status
    assert counts.is_clean
    assert {"published"} == set(senders.statuses)
    assert 1 == row.bridge.log.counts["accept_failed"]
