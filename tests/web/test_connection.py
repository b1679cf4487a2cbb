"""Connections: many requests on one, answers before the end of a body, the end of the service."""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, asynccontextmanager, closing

import pytest

from bridge.web import connection, listener
from bridge.web.eviction import Phase
from tests.helpers import eventually, id_of
from tests.serving import sign, webhook
from tests.system.faults.process import until

ONE, TWO = webhook(EventId="1"), webhook(EventId="2")


def request(body=b"", *, path="/webhook", version="1.1", headers=None):
    """Build the bytes of a signed POST."""
    fields = {
        "Host": "bridge",
        "Content-Length": len(body),
        "X-SuperOffice-Signature": sign(body),
        **(headers or {}),
    }
    lines = [f"POST {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Wire:
    """One connection to the public listener."""

    def __init__(self, reader, writer):
        self._reader = reader
        self.write = writer.write

    async def answer(self):
        """Return status, headers and JSON of the next answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        content = await self._reader.readexactly(int(fields["Content-Length"]))
        return int(head[0].split()[1]), fields, json.loads(content)

    async def rest(self):
        """Return what else comes until the connection ends."""
        return await self._reader.read()


@asynccontextmanager
async def connected(service):
    """Open a connection; all that is done on it has ten seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.listener.port)
    try:
        async with asyncio.timeout(10):
            yield Wire(reader, writer)
    finally:
        writer.close()


async def test_pipelined(serving):
    """Requests that are sent without waiting are answered in their order, and none is lost."""
    bodies = [webhook(EventId=f"event-{number}") for number in range(100)]
    async with serving() as client, connected(client.service) as wire:
        wire.write(b"".join(map(request, bodies)))
        answers = [await wire.answer() for _ in bodies]

    assert [(status, content["id"]) for status, _, content in answers] == [
        (200, id_of(body)) for body in bodies
    ]


def chunked(body, *, size):
    """Build the bytes of a signed POST whose body comes in chunks of a size."""
    head, _ = request(body, headers={"Transfer-Encoding": "chunked"}).split(b"\r\n\r\n", 1)
    fields = b"\r\n".join(one for one in head.split(b"\r\n") if b"Content-Length" not in one)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"%b\r\n\r\n%b0\r\n\r\n" % (
        fields,
        b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks),
    )


@asynccontextmanager
async def slow_disk(serving, tmp_path):
    """Run a service without a broker; give it, a connection, and a lock on its spool."""
    async with serving(wait=False, BRIDGE_BROKER__URLS="amqp://127.0.0.1:1/") as client:
        with closing(sqlite3.connect(tmp_path / "spool.db", isolation_level=None)) as tool:
            async with connected(client.service) as wire:
                yield client.service, wire, tool


async def waits_for(service, *, requests):
    """Return the connections when so many requests stand behind the one that is being answered."""
    server = service.listener._server
    await eventually(lambda: [len(one.queue) for one in server.connections] == [requests])
    return server.connections


@pytest.mark.parametrize("size", [300, 1000, 2000])
async def test_pipelined_behind_one_that_waits(serving, tmp_path, size):
    """A body in chunks that aiohttp does not read yet is not one in chunks of a few bytes."""
    large = webhook(EventId="2", PrimaryKey=2, WebhookName="x" * 1_000_000)
    async with slow_disk(serving, tmp_path) as (service, wire, tool):
        tool.execute("BEGIN IMMEDIATE")
        wire.write(request(ONE) + chunked(large, size=size))
        [one] = await waits_for(service, requests=1)
        await eventually(lambda: one.is_body_paused)
        tool.execute("ROLLBACK")
        answers = [await wire.answer() for _ in range(2)]

    assert [200, 200] == [status for status, _, _ in answers]


@pytest.mark.parametrize("length", [16384, 16385, 16386])
async def test_behind_a_body_of_very_many_chunks(serving, tmp_path, length):
    """The next request is read, also if aiohttp paused at the very last chunk."""
    bare = webhook(EventId="2", PrimaryKey=2, WebhookName="")
    many = webhook(EventId="2", PrimaryKey=2, WebhookName="x" * (length - len(bare)))
    async with slow_disk(serving, tmp_path) as (service, wire, tool):
        wire.write(request(webhook(EventId="0")))
        earned = await wire.answer()
        tool.execute("BEGIN IMMEDIATE")
        wire.write(request(ONE) + chunked(many, size=1))
        await waits_for(service, requests=1)
        tool.execute("ROLLBACK")
        answers = [earned, await wire.answer(), await wire.answer()]
        wire.write(request(TWO))
        answers.append(await wire.answer())

    assert [200] * 4 == [status for status, _, _ in answers]


async def test_requests_in_pieces(serving):
    """Head and body may come byte by byte, and the next request in the piece of the last."""
    first, second = request(ONE), request(TWO)
    async with serving() as client, connected(client.service) as wire:
        for byte in first[:-1]:
            wire.write(bytes([byte]))
            await asyncio.sleep(0)
        wire.write(first[-1:] + second)
        answers = [await wire.answer() for _ in range(2)]

    assert [content["id"] for _, _, content in answers] == [id_of(ONE), id_of(TWO)]


async def test_answered_before_the_body(serving):
    """A refusal does not wait for the body, and the connection goes on after it."""
    late = b"x" * 100_000
    async with serving() as client, connected(client.service) as wire:
        wire.write(request(late, path="/nowhere").removesuffix(late))
        refused = await wire.answer()
        wire.write(late + request(webhook()))
        accepted = await wire.answer()

    assert (404, 200) == (refused[0], accepted[0])


async def test_body_that_never_comes(serving, monkeypatch):
    """A connection whose refused body does not come to its end is closed after a while."""
    monkeypatch.setattr(connection, "_LINGER_SECONDS", 0.1)
    late = b"x" * 1000
    async with serving() as client, connected(client.service) as wire:
        wire.write(request(late, path="/nowhere").removesuffix(late))
        refused = await wire.answer()
        rest = await wire.rest()

    assert (404, b"") == (refused[0], rest)


async def test_phases(serving):
    """A connection tells what it does: whether it can give way is decided by that."""
    late = b"x" * 1000
    head = request(late, path="/nowhere").removesuffix(late)
    async with serving() as client, connected(client.service) as wire:
        server = client.service.listener._server

        async def is_in(phase):
            await eventually(lambda: [phase] == [one.phase for one in server.connections])

        await is_in(Phase.HEAD)
        wire.write(request(ONE))
        await wire.answer()
        await is_in(Phase.RESTING)
        wire.write(request(TWO)[:10])
        await is_in(Phase.HEAD)
        wire.write(request(TWO)[10:-1])
        await is_in(Phase.ANSWERING)
        wire.write(request(TWO)[-1:] + head)
        await wire.answer()
        await wire.answer()
        await is_in(Phase.LINGERING)
        wire.write(late + request(ONE, headers={"Connection": "close"}))
        await wire.answer()
        await eventually(lambda: not server.connections)


@pytest.mark.parametrize(
    ("version", "headers", "stays"),
    [
        ("1.1", {}, True),
        ("1.1", {"Connection": "close"}, False),
        ("1.0", {}, False),
        ("1.0", {"Connection": "keep-alive"}, True),
    ],
)
async def test_who_closes(serving, version, headers, stays):
    """The connection stays or ends as HTTP says, and an answer tells which."""
    asked = request(ONE, version=version, headers=headers)
    async with serving() as client, connected(client.service) as wire:
        wire.write(asked)
        answers = [await wire.answer()]
        if stays:
            wire.write(request(TWO, headers={"Connection": "close"}))
            answers.append(await wire.answer())
        rest = await wire.rest()

    assert [content["id"] for _, _, content in answers] == [id_of(ONE), id_of(TWO)][: 1 + stays]
    assert b"" == rest


async def test_upgrade_is_not_taken(serving):
    """Who asks for another protocol gets an answer in this one."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with serving() as client, connected(client.service) as wire:
        wire.write(request(ONE, headers=headers))
        status, _, content = await wire.answer()

    assert (status, content["id"]) == (200, id_of(ONE))


async def test_end_of_the_service(serving, node):
    """A request that is under way when the service ends is answered; then the connection ends."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(serving())
        wire = await stack.enter_async_context(connected(client.service))
        idle = await stack.enter_async_context(connected(client.service))
        await asyncio.to_thread(node.freeze)
        stack.push_async_callback(asyncio.to_thread, node.thaw)
        wire.write(request(ONE))
        await eventually(lambda: client.service.publisher.in_flight == 1)
        ending = asyncio.create_task(client.service.listener.stop())
        idle_rest = await idle.rest()
        answered_early = ending.done()
        answer, rest = await wire.answer(), await wire.rest()
        await ending

    assert (b"", False) == (idle_rest, answered_early)
    assert (200, "spooled", b"") == (answer[0], answer[2]["status"], rest)


async def test_a_request_on_its_way_when_the_service_ends(serving, monkeypatch):
    """It is answered, and then its connection ends; those without one are not waited for long."""
    monkeypatch.setattr(listener, "_LAST_SECONDS", 60)
    async with serving() as client, connected(client.service) as wire:
        wire.write(request(ONE))
        first = await wire.answer()
        ending = asyncio.create_task(client.service.listener.stop())
        await eventually(lambda: not client.service.listener.is_open)
        wire.write(request(TWO))
        last, rest = await wire.answer(), await wire.rest()
        await ending

    assert (200, None) == (first[0], first[1].get("Connection"))
    assert (200, "close", b"") == (last[0], last[1]["Connection"], rest)


async def begun(client, wire):
    """Send a request but for the end of its body, and return that when the rest is being read."""
    whole = request(ONE)
    wire.write(whole[:-10])

    async def is_read():
        return await client.metric("received_total") == 1

    await until(is_read, what="the request is being read")
    return whole[-10:]


async def test_end_of_the_service_in_mid_body(serving):
    """The sender of a request that is not complete yet may end it, and has its answer."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(serving())
        wire = await stack.enter_async_context(connected(client.service))
        idle = await stack.enter_async_context(connected(client.service))
        missing = await begun(client, wire)
        ending = asyncio.create_task(client.service.listener.stop())
        idle_rest = await idle.rest()
        wire.write(missing)
        answer, rest = await wire.answer(), await wire.rest()
        await ending

    assert b"" == idle_rest == rest
    assert (200, "close", id_of(ONE)) == (answer[0], answer[1]["Connection"], answer[2]["id"])


async def test_end_of_the_service_without_grace(serving):
    """A grace of 0 waits for no request, however long that may take otherwise."""
    times = {"SHUTDOWN_GRACE_SECONDS": "0", "READ_TIMEOUT_SECONDS": "60"}
    environ = {f"BRIDGE_SERVER__{name}": value for name, value in times.items()}
    async with serving(**environ) as client, connected(client.service) as wire:
        await begun(client, wire)
        await client.service.listener.stop()

        assert b"" == await wire.rest()
