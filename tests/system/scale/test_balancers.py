"""The balancers' files themselves, before servers that only say which one was asked."""

import asyncio
import re
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from bridge.settings import BrokerSettings
from tests.authority import Authority
from tests.system.faults.client import Connection
from tests.system.faults.senders import ANSWER_SECONDS
from tests.system.faults.webhooks import Webhooks
from tests.system.scale.balancer import PATH, ROUND_ROBIN, HAProxy, Nginx

pytestmark = pytest.mark.parametrize("kind", [HAProxy, Nginx])

KEYS = range(1_000_001, 1_000_201)
"""Seven digits, which HAProxy's JSON would round unless it is asked for an integer."""


class Named:
    """A server that answers with its name; it is its own admin listener, too."""

    def __init__(self, name):
        self.name = name
        self.ready = True
        self.seconds = 0.0
        """How long an event takes; the question whether it is ready is answered at once."""

        self.port = self.admin_port = 0

    @asynccontextmanager
    async def running(self):
        """Listen for the length of the block."""
        runner = web.ServerRunner(web.Server(self._answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = self.admin_port = runner.addresses[0][1]
        yield
        await runner.cleanup()

    async def _answer(self, request):
        if await request.read():
            await asyncio.sleep(self.seconds)
        return web.Response(text=self.name, status=200 if self.ready else 503)


@asynccontextmanager
async def servers(number):
    """Run so many of them for the length of the block."""
    async with AsyncExitStack() as stack:
        found = [Named(f"{index}") for index in range(number)]
        for each in found:
            await stack.enter_async_context(each.running())
        yield found


async def asked(balancer, keys=KEYS, *, as_sent=bytes, **webhook):
    """Return which server was asked for the event of each key."""
    webhooks = Webhooks(**webhook)
    connection = Connection(balancer.port, seconds=ANSWER_SECONDS)
    found = {}
    for key in keys:
        request = webhooks.request(f"event-{key}", key=key, number=key)
        reply = await connection.send(as_sent(request))
        assert reply is not None
        assert 200 == reply.status
        found[key] = reply.body.decode()
    connection.close()
    return found


async def mapping(kind, directory, replicas, **options):
    """Return which server a balancer of its own asks for the event of each key."""
    balancer = kind(directory, replicas, **options)
    async with balancer.running():
        return await asked(balancer)


async def test_records(kind, tmp_path):
    """All events of a record go to one bridge, and each bridge has a fair share of the records."""
    async with servers(2) as both:
        balancer = kind(tmp_path, both)
        async with balancer.running():
            changed = await asked(balancer, event="contact.changed")
            deleted = await asked(balancer, event="contact.deleted")
            padded = await asked(balancer, padding=100_000)

    assert changed == deleted == padded
    assert min(Counter(changed.values()).values()) > 0.35 * len(KEYS)
    parted = sum(changed[key] != changed[key + 1] for key in KEYS[:-1])
    assert parted > 0.2 * len(KEYS)  # of keys that are rounded ten in a row would go together


async def test_another_bridge(kind, tmp_path):
    """A third bridge takes its share of the records, and no other record moves."""
    async with servers(3) as three:
        before = await mapping(kind, tmp_path, three[:2])
        after = await mapping(kind, tmp_path, three)

    moved = [key for key in KEYS if before[key] != after[key]]
    assert {"2"} == {after[key] for key in moved}
    assert 0.2 * len(KEYS) < len(moved) < 0.5 * len(KEYS)


async def test_another_balancer(kind, tmp_path):
    """Two balancers with the same file agree on every record."""
    async with servers(2) as both:
        assert await mapping(kind, tmp_path, both) == await mapping(kind, tmp_path, both)


async def test_paths(kind, tmp_path):
    """By path, all events of an endpoint go to one bridge, and endpoints to both."""
    async with servers(2) as both:
        balancer = kind(tmp_path, both, spread=PATH)
        async with balancer.running():
            found = [await asked(balancer, path=f"/customer-{each}") for each in range(20)]

    assert all(len(set(each.values())) == 1 for each in found)
    assert {"0", "1"} == {each[KEYS[0]] for each in found}


async def test_round_robin(kind, tmp_path):
    """In turn, each bridge gets every other event."""
    async with servers(2) as both:
        found = await mapping(kind, tmp_path, both, spread=ROUND_ROBIN)

    assert {len(KEYS) // 2} == set(Counter(found.values()).values())


async def test_no_room(kind, tmp_path):
    """What a bridge answers 503 the next one is asked for, and the sender sees its 200."""
    async with servers(2) as both:
        balancer = kind(tmp_path, both)
        async with balancer.running():
            both[0].ready = False
            found = await asked(balancer)

    assert {"1"} == set(found.values())


async def test_chunks(kind, tmp_path):
    """A body of nearly 1 MiB that comes in chunks of 4 kB goes where its record goes."""
    async with servers(2) as both:
        balancer = kind(tmp_path, both)
        async with balancer.running():
            whole = await asked(balancer, KEYS[:20], padding=MOST)
            chunked = await asked(balancer, KEYS[:20], as_sent=in_chunks, padding=MOST)

    assert whole == chunked
    assert {"0", "1"} == set(whole.values())


MOST = 1_047_000
"""Padding to a body of nearly max_body_bytes."""


def in_chunks(request):
    """Return a request with the same body in chunks."""
    head, _, body = request.partition(b"\r\n\r\n")
    head = re.sub(rb"(?i)content-length: \d+", b"Transfer-Encoding: chunked", head)
    pieces = [body[start : start + 4096] for start in range(0, len(body), 4096)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return head + b"\r\n\r\n" + chunks


DEADLINE = BrokerSettings.model_fields["confirm_deadline_seconds"].default


@pytest.mark.parametrize(("seconds", "answering"), [(DEADLINE + 0.5, {"0", "1"}), (60, {"1"})])
async def test_a_slow_bridge(kind, tmp_path, seconds, answering):
    """One that waits for its broker is waited for; of one that hangs nobody waits five seconds."""
    async with servers(2) as both:
        balancer = kind(tmp_path, both)
        async with balancer.running():
            both[0].seconds = seconds
            events = (asked(balancer, [key]) for key in KEYS[:20])  # each on its own connection
            found = await asyncio.gather(*events)

    assert answering == {name for each in found for name in each.values()}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"PrimaryKey":"C-17","ContextIdentifier":null}',
        b'{"PrimaryKey"' + b" " * 1_000_000 + b"}",
        b'{"ContextIdentifier":"' + b"x" * 1_000_000,
        b'{"PrimaryKey":' + b"9" * 1_000_000 + b"}",
        b"[" * 1_000_000,
        bytes(range(256)) * 4000,
    ],
    ids=lambda body: body[:24].decode("ascii", "replace"),
)
async def test_odd_bodies(kind, tmp_path, body):
    """Whatever a body holds reaches a bridge, which decides about it; and always the same one."""
    head = f"POST /webhook HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    async with servers(2) as both:
        balancer = kind(tmp_path, both)
        async with balancer.running():
            connection = Connection(balancer.port, seconds=ANSWER_SECONDS)
            replies = [await connection.send(head.encode() + body) for _ in range(4)]
            connection.close()

    assert 1 == len(set(replies))
    assert replies[0] is not None
    assert 200 == replies[0].status


async def test_https(kind, tmp_path):
    """With a certificate in its place the file serves https, and the program finds it valid."""
    authority = Authority(tmp_path)
    async with servers(2) as both:
        balancer = kind(tmp_path, both, certificate=authority.issue("127.0.0.1"))
        balancer.check()
        connector = aiohttp.TCPConnector(ssl=authority.client())
        async with balancer.running(), aiohttp.ClientSession(connector=connector) as client:
            url = f"https://127.0.0.1:{balancer.port}/webhook"
            async with client.post(url, data=b"{}") as reply:
                assert 200 == reply.status
