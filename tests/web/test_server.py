"""What clients may hold: connections, the time for a head, its size, failures of the signature."""

import asyncio
import io
import json
import socket
from contextlib import suppress

import pytest

from bridge import log
from bridge.web import connection, eviction
from tests.helpers import eventually
from tests.serving import sign, webhook

HEAD = b"POST /webhook HTTP/1.1\r\nHost: x\r\n"
REQUEST = HEAD + b"Content-Length: 0\r\n\r\n"
UNFINISHED = HEAD + b"Content-Length: 1\r\n\r\n"


def signed():
    """Return a request that earns a 200."""
    body = webhook(Event="test")
    fields = f"X-SuperOffice-Signature: {sign(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    return HEAD + fields.encode() + body


async def busy(listener, *, connections):
    """Return when so many connections have a request under way."""
    server = listener._server
    await eventually(lambda: sum(not one.is_idle for one in server.connections) == connections)


@pytest.fixture
def records():
    """Return a function that returns what was logged so far."""
    stream = io.StringIO()
    log.configure(level="info", format="json", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def logged(records, action):
    """Return the records of one action."""
    return [record for record in records() if record["action"] == action]


class Peer:
    """A connection that sends what it is told to."""

    def __init__(self, reader, writer):
        self._reader = reader
        self.writer = writer

    async def answer(self, data):
        """Send bytes and return the answer, to its last byte."""
        self.writer.write(data)
        head = await self._reader.readuntil(b"\r\n\r\n")
        [length] = [
            int(line.split(b": ")[1])
            for line in head.splitlines()
            if line.startswith(b"Content-Length")
        ]
        return head + await self._reader.readexactly(length)

    async def end(self):
        """Return what comes until the connection ends, with whatever ends it."""
        try:
            async with asyncio.timeout(10):
                return await self._reader.read()
        except ConnectionError:
            return b""

    async def close(self):
        """Hang up."""
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@pytest.fixture
async def connect():
    """Return a function that connects to a listener, and hang up at the end."""
    peers = []

    async def connected(listener):
        peers.append(Peer(*await asyncio.open_connection("127.0.0.1", listener.port)))
        return peers[-1]

    yield connected
    for peer in peers:
        await peer.close()


async def test_one_connection_too_many_is_told_and_closed(serving, connect, records):
    """Requests that are under way go on, the log says how many were refused, a place gets free."""
    async with serving(BRIDGE_SERVER__MAX_CONNECTIONS="2") as client:
        listener = client.service.listener
        held = [await connect(listener) for _ in range(2)]
        first = [await peer.answer(signed()) for peer in held]
        for peer in held:
            peer.writer.write(UNFINISHED)
        await busy(listener, connections=2)
        refused = [await (await connect(listener)).end() for _ in range(3)]
        again = [await peer.answer(b"x") for peer in held]
        await eventually(lambda: refusals(records) == 3)
        await held[0].close()
        await eventually(lambda: len(listener._server.connections) == 1)
        replaced = await (await connect(listener)).answer(REQUEST)

    assert {b"200"} == {answer.split()[1] for answer in first}
    assert {b"401"} == {answer.split()[1] for answer in [*again, replaced]}
    assert {b"HTTP/1.1 503 Service Unavailable"} == {answer.splitlines()[0] for answer in refused}
    assert all(b"Connection: close" in answer for answer in refused)
    assert {503} == {json.loads(answer.partition(b"\r\n\r\n")[2])["status"] for answer in refused}


def refusals(records):
    """Return how many connections were refused, by the log."""
    return sum(record["connections"] for record in logged(records, "connections_refused"))


async def test_silent_connections_keep_nobody_out(serving, connect, records, monkeypatch):
    """Whoever comes when all places are taken gets that of the oldest which asked for nothing."""
    monkeypatch.setattr(eviction, "_ARRIVAL_SECONDS", 0.0)
    async with serving(BRIDGE_SERVER__MAX_CONNECTIONS="3") as client:
        used = await connect(client.service.listener)
        await used.answer(REQUEST)
        silent = [await connect(client.service.listener) for _ in range(2)]
        silent[0].writer.write(b"POST")
        answers = [await (await connect(client.service.listener)).answer(REQUEST) for _ in range(2)]
        ended = [await peer.end() for peer in silent]
        answers.append(await used.answer(REQUEST))
        await eventually(lambda: logged(records, "heads_unfinished"))

    assert {b"401"} == {answer.split()[1] for answer in answers}
    assert [b"", b""] == ended
    assert not logged(records, "connections_refused")


async def test_strangers_that_rest_give_way(serving, connect):
    """Of connections that rest, those that earned no 200 go first, longest at rest first."""
    async with serving(BRIDGE_SERVER__MAX_CONNECTIONS="3") as client:
        listener = client.service.listener
        known = await connect(listener)
        earned = await known.answer(signed())
        strangers = [await connect(listener) for _ in range(2)]
        for stranger in strangers:
            await stranger.answer(REQUEST)
        answers = [await (await connect(listener)).answer(REQUEST) for _ in range(2)]
        ended = [await stranger.end() for stranger in strangers]
        again = await known.answer(signed())

    assert {b"200"} == {earned.split()[1], again.split()[1]}
    assert {b"401"} == {answer.split()[1] for answer in answers}
    assert [b"", b""] == ended


@pytest.mark.parametrize("path", [b"/webhook", b"/nowhere"])
async def test_strangers_that_owe_a_body_give_way(serving, connect, path):
    """They do before an authentic sender that rests, whether or not they have their answer."""
    async with serving(BRIDGE_SERVER__MAX_CONNECTIONS="3") as client:
        listener = client.service.listener
        known = await connect(listener)
        await known.answer(signed())
        owing = [await connect(listener) for _ in range(2)]
        for stranger in owing:
            stranger.writer.write(UNFINISHED.replace(b"/webhook", path))
        await busy(listener, connections=2)
        answers = [await (await connect(listener)).answer(signed()) for _ in range(2)]
        answers.append(await known.answer(signed()))

    assert {b"200"} == {answer.split()[1] for answer in answers}


async def test_probes_get_in_beside_requests_that_owe_a_body(serving, connect):
    """Whoever fills the places of the admin listener has its answer already, and gives way."""
    asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    async with serving() as client:
        for _ in range(50):
            stranger = await connect(client.service.admin)
            stranger.writer.write(asked + b"Content-Length: 1\r\n\r\n")
        await busy(client.service.admin, connections=50)
        answer = await (await connect(client.service.admin)).answer(asked + b"\r\n")

    assert b"200" == answer.split()[1]


async def test_a_stranger_rests_for_seconds_only(serving, connect, monkeypatch):
    """From its first answer on, although a connection that earns a 200 may rest for minutes."""
    monkeypatch.setattr(connection, "_STRANGER_SECONDS", 0.2)
    async with serving() as client:
        known, stranger = [await connect(client.service.listener) for _ in range(2)]
        await known.answer(signed())
        await stranger.answer(REQUEST)
        rest = await stranger.end()
        again = await known.answer(signed())

    assert (b"", b"200") == (rest, again.split()[1])


async def test_thousands_of_requests_in_one_write(serving, connect):
    """Others have their turn between any two requests of one connection."""
    async with serving() as client:
        listener = client.service.listener
        crowd = await connect(listener)
        crowd.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)
        await eventually(lambda: any(one.queue for one in listener._server.connections))
        answer = await (await connect(listener)).answer(REQUEST)
        waiting = max(len(one.queue) for one in listener._server.connections)

    assert b"401" == answer.split()[1]
    assert waiting > 0


async def test_a_client_that_says_no_more(serving, connect):
    """Half a close behind the requests: all of them are answered, then the connection is closed."""
    async with serving() as client:
        peer = await connect(client.service.listener)
        peer.writer.write(REQUEST * 2)
        peer.writer.write_eof()
        found = await peer.end()

    assert 2 == found.count(b"HTTP/1.1 401")


async def test_a_client_that_does_not_read(serving, connect):
    """Answers that nobody reads hold a place no longer than a head may take."""
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="1") as client:
        listener = client.service.listener
        deaf = await connect(listener)
        deaf.writer.transport.pause_reading()
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while listener._server.connections:
                    deaf.writer.write(REQUEST * 1000)
                    await asyncio.sleep(0.05)
        left = len(listener._server.connections)

    assert 0 == left


async def test_a_client_that_does_not_read_its_last_answers(serving, connect):
    """Nor does one that is closed hold its descriptor, however little it leaves unread."""
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="1") as client:
        listener = client.service.listener
        with socket.create_connection(("127.0.0.1", listener.port)) as deaf:
            deaf.setblocking(False)
            await eventually(lambda: listener._server.connections)
            [transport] = listener._server._open.values()
            while not transport.get_write_buffer_size():
                with suppress(BlockingIOError):
                    deaf.send(REQUEST * 10)
                await asyncio.sleep(0.01)
            deaf.send(HEAD + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            await eventually(lambda: listener._server.leaving)
            unread = transport.get_write_buffer_size()
            await eventually(lambda: not listener._server.connections)

    assert 0 < unread < 65536  # else the end of reading would have ended it


async def test_refusals_are_sampled_in_the_log(serving, connect, records):
    """Nobody fills a disk with lines: a hundred a minute for each reason, and how many more."""
    async with serving() as client:
        peer = await connect(client.service.listener)
        for _ in range(300):
            await peer.answer(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert 100 == len(logged(records, "request_refused"))


async def test_the_admin_listener_has_places_of_its_own(serving, connect):
    """Whoever fills the public one does not keep the operator out."""
    async with serving(BRIDGE_SERVER__MAX_CONNECTIONS="1") as client:
        held = await connect(client.service.listener)
        await held.answer(signed())
        held.writer.write(UNFINISHED)
        await busy(client.service.listener, connections=1)
        refused = await (await connect(client.service.listener)).end()
        status, *_ = await client.get("/healthz")

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert 200 == status


@pytest.mark.parametrize(
    ("before", "sent"),
    [(False, b""), (False, b"POST"), (False, HEAD), (True, b"POST"), (True, HEAD)],
)
async def test_a_head_that_never_ends_ends_the_connection(serving, connect, records, sent, before):
    """Whether it is the first request or not; one byte at a time does not help."""
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="0.3") as client:
        slow = await connect(client.service.listener)
        if before:
            await slow.answer(REQUEST)
        slow.writer.write(sent)
        dripping = asyncio.create_task(drip(slow.writer)) if sent == HEAD else None
        answer = await slow.end()
        if dripping:
            await dripping

    assert b"" == answer
    assert [1] == [record["connections"] for record in logged(records, "heads_unfinished")]


async def drip(writer):
    """Send one byte of a header after the other until the connection ends."""
    while not writer.transport.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.05)


async def test_a_connection_may_rest_longer_than_a_head(serving, connect):
    """A proxy keeps connections: one that has carried a request outlives the time for a head."""
    environ = {
        "BRIDGE_SERVER__READ_TIMEOUT_SECONDS": "0.1",
        "BRIDGE_SERVER__IDLE_TIMEOUT_SECONDS": "30",
    }
    async with serving(**environ) as client:
        resting, silent = [await connect(client.service.listener) for _ in range(2)]
        await resting.answer(REQUEST)
        assert b"" == await silent.end()  # the look at all connections has been
        answer = await resting.answer(REQUEST)

    assert b"401" == answer.split()[1]


async def test_a_resting_connection_is_closed_in_the_end(serving, connect, records):
    """After idle_timeout_seconds, without a word."""
    async with serving(BRIDGE_SERVER__IDLE_TIMEOUT_SECONDS="0.2") as client:
        resting = await connect(client.service.listener)
        await resting.answer(REQUEST)
        rest = await resting.end()

    assert b"" == rest
    assert not logged(records, "heads_unfinished")


async def test_a_slow_body_is_not_a_slow_head(serving, connect, records):
    """A head is complete whatever becomes of its body: that is answered 408."""
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="1.5") as client:
        slow = await connect(client.service.listener)
        answer = await slow.answer(HEAD + b"Content-Length: 9\r\n\r\n{")

    assert b"408" == answer.split()[1]
    assert not logged(records, "heads_unfinished")


async def test_a_head_without_measure(serving, connect):
    """Sixty lines of the size that is allowed are too much for a stranger all together."""
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="60") as client:
        stranger = await connect(client.service.listener)
        stranger.writer.write(HEAD)
        for number in range(60):
            stranger.writer.write(b"h%d: %s\r\n" % (number, b"x" * 8000))
        answer = await stranger.end()

    assert answer.startswith(b"HTTP/1.1 400 ") or not answer  # the rest may be under way


@pytest.mark.parametrize(("size", "status"), [(1, b"400"), (4, b"400"), (8, b"401"), (64, b"401")])
async def test_a_body_in_tiny_chunks(serving, connect, size, status):
    """A stranger's body that is mostly the names of its chunks is not read."""
    chunk = b"%x\r\n%s\r\n" % (size, b"a" * size)
    async with serving() as client:
        stranger = await connect(client.service.listener)
        answer = await stranger.answer(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 500 + b"0\r\n\r\n"
        )

    assert status == answer.split()[1]


@pytest.mark.parametrize(
    "fields",
    [
        [b"X-%d: y" % number for number in range(65)],
        [b"X: " + b"y" * 8200],
    ],
)
async def test_a_large_head_is_refused(serving, connect, fields):
    """Too many headers, or one that is too long: 400; a few less or shorter are fine."""
    async with serving() as client:
        refused = await (await connect(client.service.listener)).answer(
            HEAD + b"\r\n".join(fields) + b"\r\nContent-Length: 0\r\n\r\n"
        )
        fine = [field[:8000] for field in fields[:60]]
        answered = await (await connect(client.service.listener)).answer(
            HEAD + b"\r\n".join(fine) + b"\r\nContent-Length: 0\r\n\r\n"
        )

    assert (b"400", b"401") == (refused.split()[1], answered.split()[1])


async def test_failures_beyond_the_limit_get_429_and_what_is_signed_never(serving, records):
    """An authentic delivery from the very same address is accepted, and one line tells of all."""
    async with serving(BRIDGE_SERVER__MAX_SIGNATURE_FAILURES="3") as client:
        wrong = [await client.post(webhook(), signature=sign(b"x")) for _ in range(8)]
        right = [await client.post(webhook()) for _ in range(5)]
        limited = await client.metric(
            "rejected_total", endpoint="superoffice", reason="rate_limited"
        )
        failed = await client.metric(
            "rejected_total", endpoint="superoffice", reason="signature_mismatch"
        )

    assert [401] * 3 + [429] * 5 == [status for status, *_ in wrong]
    assert [200] * 5 == [status for status, *_ in right]
    assert 1 <= int(wrong[-1][2]["Retry-After"]) <= 60
    assert (3, 5) == (failed, limited)
    assert 3 == len(logged(records, "request_refused"))
    [line] = logged(records, "source_limited")
    assert "127.0.0.1" == line["source"]


async def test_other_refusals_are_not_counted(serving):
    """A scanner that knows no path, or a tenant that is not ours, is refused as ever."""
    async with serving(BRIDGE_SERVER__MAX_SIGNATURE_FAILURES="1") as client:
        strangers = [await client.post(webhook(), path="/other") for _ in range(5)]
        failed = await client.post(webhook(), signature=sign(b"x"))

    assert [404] * 5 == [status for status, *_ in strangers]
    assert 401 == failed[0]
