"""The plain path keeps all that a connection promises, and real senders take it."""

from __future__ import annotations

import asyncio
import json
import re
import time

import pytest

from bridge.core.publish import Outcome
from bridge.web import plain
from bridge.web.connection import Connection
from bridge.web.eviction import Phase
from bridge.web.turns import PIECE_BYTES
from tests.helpers import eventually
from tests.serving import sign, webhook
from tests.web.wireless import Site, dateless, request

ONE, TWO, THREE = (webhook(EventId=f"event-{number}") for number in (1, 2, 3))
LARGE = webhook(EventId="large", WebhookName="x" * 6000)
HUGE = webhook(EventId="huge", WebhookName="x" * 100_000)
OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def statuses(answers: bytes) -> list[int]:
    """Return the statuses of some answers, in their order."""
    return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d+) ", answers)]


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """Cut bytes into pieces of these sizes, and one more with the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


class NoMemory:
    """A loop, or a plain path, that has no memory for one thing; the rest is the real one's."""

    def __init__(self, real, name):
        self._real, self._name = real, name

    def __getattr__(self, name):
        if name == self._name:
            raise MemoryError
        return getattr(self._real, name)


def plain_path(wire):
    """Return the plain path of a connection."""
    return wire.connection.plain


# Who really sends

DOTNET = (
    *("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b"),
    *("X-SuperOffice-Event: contact.changed", "X-SuperOffice-EventId: event-1"),
    "Content-Type: application/json; charset=utf-8",
)
FRAMEWORK = (
    *("Content-Type: application/json; charset=utf-8", "X-SuperOffice-Event: contact.changed"),
    *("Expect: 100-continue", "Connection: Keep-Alive"),
)
HAPROXY = ("content-type: application/json", "x-superoffice-event: a.b", "x-forwarded-for: ::1")
NGINX = ("X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Content-Type: application/json")
CADDY = (
    *("User-Agent: SuperOffice", "Content-Type: application/json", "X-Forwarded-For: 192.0.2.1"),
    *("X-Forwarded-Host: bridge.example", "X-Forwarded-Proto: https", "Accept-Encoding: gzip"),
)


def lower(data: bytes) -> bytes:
    """Return a request with the names of its fields in lower case, as HAProxy sends them."""
    head, end, body = data.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    lines = [re.sub(rb"^[^:]+", lambda found: found[0].lower(), line) for line in lines]
    return b"\r\n".join([first, *lines]) + end + body


def head_and_body(data: bytes, *sizes: int) -> list[bytes]:
    """Cut a request where its body begins, and the body into pieces of these sizes."""
    return cut(data, data.index(b"\r\n\r\n") + 4, *sizes)


SENDERS = {
    ".NET": [request(ONE, *DOTNET)],
    ".NET, more than 4 KB": cut(request(LARGE, *DOTNET), 4096),
    ".NET, 100 KB": cut(request(HUGE, *DOTNET), 4096),
    ".NET Framework": head_and_body(request(ONE, *FRAMEWORK)),
    ".NET Framework, in one": [request(ONE, *FRAMEWORK)],
    "HAProxy": [lower(request(ONE, *HAPROXY))],
    "HAProxy, in two": head_and_body(lower(request(ONE, *HAPROXY))),
    "HAProxy, 6 KB": cut(lower(request(LARGE, *HAPROXY)), 4124),
    "HAProxy, 100 KB": cut(lower(request(HUGE, *HAPROXY)), 15277, 65280),
    "nginx": [request(ONE, *NGINX)],
    "nginx, 100 KB": cut(request(HUGE, *NGINX), 8419, 65483, 53),
    "Caddy": head_and_body(request(ONE, *CADDY)),
    "Caddy, 6 KB": head_and_body(request(LARGE, *CADDY), 3899),
    "Caddy, 100 KB": head_and_body(request(HUGE, *CADDY), 3897, 32768, 32768),
}


@pytest.mark.parametrize("pieces", SENDERS.values(), ids=SENDERS)
async def test_real_senders_take_it(pieces):
    """Whole, cut at the body or within it: each of them is plain, again and again."""
    site = Site(max_body=200_000)
    wire = await site.proven()
    before = site.plain_requests
    for count in (1, 2):
        *early, answer = [await wire.send(piece) for piece in pieces]

        assert OK == answer[: len(OK)]
        expects = len(pieces) > 1 and b"Expect" in pieces[0]
        assert [CONTINUE] * expects == [each for each in early if each]
        assert before + count == site.plain_requests


async def test_the_first_request_of_a_connection():
    """Whole, it takes the plain path; what is cut waits for its turns with aiohttp."""
    site = Site()
    one, other = await site.connect(), await site.connect()
    assert OK == (await one.send(request(ONE)))[: len(OK)]
    assert 1 == site.plain_requests
    first, *rest = [await other.send(piece) for piece in head_and_body(request(TWO))]

    assert b"" == first
    assert [200] == statuses(b"".join(rest))
    assert 1 == site.plain_requests


# What is answered

ACCEPTED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%b\r\n%b"
REFUSED = (
    b"HTTP/1.1 %b\r\n%bContent-Type: application/problem+json\r\nContent-Length: %d\r\n%b\r\n%b"
)


def refused(status: str, detail: str, *, fields: bytes = b"", end: bytes = b"") -> bytes:
    """Return the bytes of a rejection, but for its date."""
    number, title = status.split(" ", 1)
    body = json.dumps(
        {"title": title, "status": int(number), "detail": detail}, separators=(",", ":")
    ).encode()
    return REFUSED % (status.encode(), fields, len(body), end, body)


async def test_the_bytes_of_a_200():
    """Nothing but what the client needs, and a date."""
    site = Site()
    wire = await site.proven()
    answer = await wire.send(request(ONE))
    body = answer.rpartition(b"\r\n")[2]

    assert {"status": "published", "id": site.outbox.messages[1].message_id} == json.loads(body)
    assert ACCEPTED % (len(body), b"", body) == dateless(answer)
    [date] = re.findall(rb"\r\nDate: (.*?)\r\n\r\n", answer)
    assert re.fullmatch(rb"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", date)


CHALLENGE = b'WWW-Authenticate: SuperOffice-Signature realm="webhook"\r\n'
LATER = b"Retry-After: 5\r\n"


@pytest.mark.parametrize(
    ("data", "outcome", "answer"),
    [
        (
            request(ONE, signature=sign(TWO)),
            None,
            refused("401 Unauthorized", "X-SuperOffice-Signature is mismatch.", fields=CHALLENGE),
        ),
        (
            request(b"[]", path="/open"),
            None,
            refused("400 Bad Request", "The body is not a SuperOffice webhook: not_object."),
        ),
        (
            request(webhook(ContextIdentifier="Cust2"), path="/open"),
            None,
            refused("403 Forbidden", "This endpoint does not accept the body's ContextIdentifier."),
        ),
        (
            request(ONE),
            Outcome.NOT_SENT,
            refused(
                "503 Service Unavailable",
                "The event cannot be stored now; try again.",
                fields=LATER,
            ),
        ),
    ],
)
async def test_the_bytes_of_a_rejection(data, outcome, answer):
    """The same members, headers and order as by the other way; the connection stays open."""
    site = Site()
    wire = await site.proven()
    site.outbox.outcomes = [outcome] if outcome else []

    assert answer == dateless(await wire.send(data))
    assert 2 == site.plain_requests
    assert [200] == statuses(await wire.send(request(THREE)))


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (
            RuntimeError(),
            refused(
                "500 Internal Server Error",
                "The request failed; the cause is in the service's log.",
                end=b"Connection: close\r\n",
            ),
        ),
        (
            MemoryError(),
            refused(
                "503 Service Unavailable",
                "There is no memory left for the request; try again.",
                fields=LATER,
                end=b"Connection: close\r\n",
            ),
        ),
    ],
)
async def test_a_defect_of_ours(error, answer, monkeypatch):
    """It is answered, and the connection ends."""
    site = Site()
    wire = await site.proven()

    def fail(message, settled):
        raise error

    monkeypatch.setattr(site.outbox, "deliver", fail)
    found = await wire.send(request(ONE))

    assert answer == dateless(found)
    assert wire.transport.closed


@pytest.fixture
def fails(monkeypatch):
    """Return what makes the next call of something fail, and only that one."""

    def fail_next(owner, name):
        def fail(*arguments):
            monkeypatch.setattr(owner, name, real)
            raise MemoryError

        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, fail)

    return fail_next


@pytest.mark.parametrize("size", [5, 0], ids=["in two", "in one"])
async def test_no_memory_before_the_pipeline(size, fails):
    """It is answered once, and the connection does not keep its place."""
    site = Site()
    wire = await site.proven()
    *early, last = cut(request(ONE), len(request(ONE)) - size) if size else [request(ONE)]
    await wire.send(*early)
    fails(time, "time_ns")
    answer = await wire.send(last)
    await wire.settled()

    assert [503] == statuses(answer)
    assert b"Connection: close" in answer
    assert 1 == len(site.outbox.messages)
    assert ([], 0) == (site.server.connections, site.server.number_open)


async def test_no_memory_where_a_body_is_put_together():
    """It is answered as well: the pieces of it are let go."""
    site = Site()
    wire = await site.proven()
    await wire.send(request(ONE)[:-5])
    plain_path(wire)._pieces.append(None)  # not even ``join`` can be made to fail
    answer = await wire.send(request(ONE)[-5:])
    await wire.settled()

    assert [500] == statuses(answer)
    assert [] == site.server.connections


async def test_an_error_behind_the_answer(monkeypatch):
    """The answer is the only one, and the connection ends: what came behind it is lost."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE), request(TWO))
    monkeypatch.setattr(site.server, "loop", NoMemory(site.server.loop, "call_soon"))
    site.outbox.settle_all()
    await wire.settled()

    assert [200, 200] == statuses(wire.transport.written)
    assert wire.transport.closed
    assert [] == site.server.connections


async def test_an_error_in_what_came_behind(fails):
    """Who knows how much of it was read? Nothing more is."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE), b"GET / HTTP/1.1\r\n")
    fails(Connection, "parse")
    site.outbox.settle_all()
    await wire.settled()

    assert wire.transport.closed
    assert [] == site.server.connections


async def test_an_error_that_nobody_could_tell(fails, monkeypatch):
    """The connection does not keep its place when it is lost."""
    site = Site()
    wire = await site.proven()
    fails(time, "time_ns")
    fails(Connection, "answer")
    monkeypatch.setattr(plain, "log", None)  # there is no memory for a line, either
    with pytest.raises(AttributeError):
        await wire.send(request(ONE))
    await wire.settled()

    assert wire.transport.closed
    assert [] == site.server.connections


async def test_failures_beyond_the_limit():
    """A source with too many wrong signatures gets 429, and an authentic request 200."""
    site = Site(failures=2)
    wire = await site.proven()
    answers = [await wire.send(request(ONE, signature="x")) for _ in range(4)]

    assert [401, 401, 429, 429] == statuses(b"".join(answers))
    assert [200] == statuses(await wire.send(request(ONE)))
    assert 6 == site.plain_requests


# What is odd, and what comes behind

ODD = {
    "chunked": b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-SuperOffice-Signature: %b\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    % (sign(TWO).encode(), len(TWO), TWO),
    "an encoding": request(TWO, "Content-Encoding: identity"),
    "another method": b"GET /webhook HTTP/1.1\r\nHost: x\r\n\r\n",
    "another path": request(TWO, path="/nowhere"),
    "two at once": request(TWO) + request(THREE),
}


@pytest.mark.parametrize("size", [1, 20, 150, 100_000])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_it_comes_back_after_an_odd_request(odd, size):
    """The connection takes the plain path again when aiohttp owes and is owed nothing."""
    site = Site()
    wire = await site.proven()
    answers = await wire.send(*(odd[at : at + size] for at in range(0, len(odd), size)))
    odd_ones = site.plain_requests
    for number in range(3):
        answers += await wire.send(request(webhook(EventId=f"behind-{number}")))

    assert statuses(answers)[-3:] == [200] * 3
    assert 2 <= site.plain_requests - odd_ones
    assert b"" == await wire.send(b"POST /web")
    assert [200] == statuses(await wire.send(request(THREE)[len(b"POST /web") :]))


async def test_what_comes_behind_is_answered_behind():
    """While one request is being answered nothing else is read, and the order is kept."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    assert b"" == await wire.send(request(ONE), request(TWO)[:50], request(TWO)[50:])
    assert not wire.transport.reads
    assert 2 == len(site.outbox.messages)
    assert [Phase.ANSWERING, True] == [wire.connection.phase, wire.connection.owes]
    for number in (2, 3):
        site.outbox.settle_all()
        await wire.settled()
        assert number == len(statuses(wire.transport.written))

    ids = [message.message_id for message in site.outbox.messages]
    told = re.findall(rb'"id":"(.*?)"', wire.transport.written)
    assert [one.encode() for one in ids] == told
    assert wire.transport.reads


async def test_a_repeat_waits_for_the_first():
    """An attempt on another connection is answered when the first one is."""
    site = Site()
    one, other = await site.proven(), await site.proven()
    site.outbox.is_slow = True
    assert b"" == await one.send(request(ONE))
    assert b"" == await other.send(request(ONE))
    site.outbox.settle_all()

    assert b'"published"' in one.transport.written.rpartition(b"\r\n")[2]
    assert b'"duplicate"' in other.transport.written.rpartition(b"\r\n")[2]


async def test_it_is_answered_in_the_call_that_brings_the_outcome():
    """No turn of the loop is between a confirm and its answer."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE))
    before = len(wire.transport.written)
    site.outbox.settle_all()

    assert [200] == statuses(wire.transport.written[before:])


# Limits and times


async def test_strangers_share_the_turns():
    """Plain or not, a turn has a few KB for all strangers together."""
    site = Site()
    wires = [await site.connect() for _ in range(40)]
    data = [request(webhook(EventId=f"event-{number}")) for number in range(len(wires))]
    for wire, each in zip(wires, data, strict=True):
        wire.transport.feed(each)

    assert PIECE_BYTES // len(data[0]) + 1 == len(site.outbox.messages)
    for wire in wires:
        await wire.settled()
    assert len(wires) == len(site.outbox.messages)


async def test_a_body_that_never_comes():
    """It gets 408 as ever; the wait on the plain path is part of its time."""
    site = Site(read_seconds=0.3)
    wire = await site.proven()
    head, body = head_and_body(request(ONE))
    began = site.server.loop.time()
    assert b"" == await wire.send(head, body[:10])
    assert Phase.ANSWERING is wire.connection.phase
    await eventually(lambda: statuses(wire.transport.written) == [200, 408])

    assert 0.3 <= site.server.loop.time() - began
    assert b"Connection: close" in wire.transport.written.rpartition(b"HTTP/1.1 ")[2]
    assert {"timeout"} == {reason for _, reason in site.metrics.rejected.counts}


async def test_a_slow_body_comes_after_all():
    """What takes longer than a look goes by the other way, and is told to go on only once."""
    site = Site()
    wire = await site.proven()
    head, body = head_and_body(request(ONE, "Expect: 100-continue"))
    answer = await wire.send(head)
    site.server._hand_over(site.server.loop.time())
    await wire.settled()
    answer += await wire.send(body)

    assert [100, 200] == statuses(answer)
    assert 1 == site.plain_requests
    assert [200] == statuses(await wire.send(request(TWO)))
    assert 2 == site.plain_requests


async def test_a_body_that_cannot_be_handed_over(fails):
    """Its connection is cut, or a request in the rest of the body would be read as one."""
    site = Site()
    wire, other, slow = await site.proven(), await site.proven(), await site.proven()
    inner = request(TWO)
    await wire.send(request(webhook(EventId="outer") + inner)[: -len(inner)])
    await other.send(request(ONE)[:-5])
    await slow.send(b"POST /web")
    now = site.server.loop.time()
    plain_path(wire).since = plain_path(other).since = now - 2.0
    slow.connection.head_began = now - 60.0
    fails(Connection, "parse")
    site.server._look_at_all()
    answer = await wire.send(inner)

    assert b"" == answer
    assert [True, True] == [wire.transport.closed, slow.transport.closed]
    assert [200] == statuses(await other.send(request(ONE)[-5:]))
    assert [other.connection] == site.server.connections


async def test_who_hangs_up_when_nothing_can_be_handed_over(fails):
    """The connection ends as any other one."""
    site = Site()
    wire = await site.proven()
    await wire.send(request(ONE)[:-5])
    fails(Connection, "parse")
    await wire.hang_up()

    assert wire.connection.gone.done()
    await eventually(lambda: not site.server.connections)


async def test_who_hangs_up_when_the_plain_path_fails(monkeypatch):
    """Whatever goes wrong at its end, the connection ends."""
    site = Site()
    wire = await site.proven()
    monkeypatch.setattr(wire.connection, "plain", NoMemory(plain_path(wire), "end"))
    with pytest.raises(MemoryError):
        await wire.hang_up()

    assert wire.connection.gone.done()
    await eventually(lambda: not site.server.connections)


async def test_who_hangs_up_in_mid_body():
    """It is counted as what it is."""
    site = Site()
    wire = await site.proven()
    await wire.send(request(ONE)[:-5])
    await wire.hang_up()
    await eventually(lambda: site.metrics.rejected.counts)

    assert {("superoffice", "malformed")} == set(site.metrics.rejected.counts)
    await eventually(lambda: not site.server.connections)


async def test_who_hangs_up_before_the_answer():
    """The event is accepted all the same, and the connection counts until then."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE))
    await wire.hang_up()
    assert 1 == len(site.server.connections) == site.server.number_open
    site.outbox.settle_all()

    assert 2 == site.metrics.published.labels("superoffice").value
    assert [200] == statuses(wire.transport.written)
    assert [] == site.server.connections


async def test_who_hangs_up_with_another_request_behind():
    """That one is not accepted, nor does the connection count for ever."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE), request(TWO))
    site.outbox.settle_all()
    await wire.hang_up()

    assert 2 == len(site.outbox.messages)
    assert [] == site.server.connections


async def test_who_says_no_more():
    """A client that has closed its side gets its answer, and then the end."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE))
    assert wire.connection.eof_received()
    site.outbox.settle_all()
    await wire.settled()

    assert [200, 200] == statuses(wire.transport.written)
    assert b"Connection: close" not in wire.transport.written
    assert wire.transport.closed


async def test_who_does_not_read():
    """Of a client that leaves much unread nothing is plain: aiohttp's way waits for it."""
    site = Site()
    wire = await site.proven()
    wire.connection.pause_writing()
    before = site.plain_requests
    await wire.send(request(ONE))
    assert before == site.plain_requests
    wire.connection.resume_writing()
    await wire.send(request(TWO))

    assert before + 1 == site.plain_requests
    assert [200] * 3 == statuses(wire.transport.written)


async def test_who_waits_for_an_answer_is_not_idle():
    """The timer of a rest ends no request that is being answered, and begins behind it."""
    site = Site(idle_seconds=0.05)
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE))
    await eventually(lambda: wire.connection._keepalive_handle is None)
    assert not wire.transport.closed
    site.outbox.settle_all()
    assert [200, 200] == statuses(wire.transport.written)

    await eventually(lambda: wire.transport.closed)


async def test_nobody_at_work_gives_way():
    """A client that has earned a 200 keeps its place while a request of it is at hand."""
    site = Site()
    answering, gathering = await site.proven(), await site.proven()
    site.outbox.is_slow = True
    await answering.send(request(ONE))
    await gathering.send(request(TWO)[:-5])

    assert not site.server.make_room()
    site.outbox.settle_all()
    assert site.server.make_room()


# The end


async def test_the_service_ends_behind_an_answer():
    """A head that is not whole is not waited for, as by the other way."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE), request(TWO)[:20])
    site.outbox.settle_all()
    site.server.pre_shutdown()
    await wire.settled()

    assert [200, 200] == statuses(wire.transport.written)
    assert wire.transport.closed


async def test_the_service_ends_while_one_is_answered():
    """The answer says that it is the last one, and the connection ends behind it."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE), request(TWO))
    site.server.pre_shutdown()
    ending = asyncio.create_task(site.server.shutdown(5))
    await wire.settled()
    assert not wire.transport.closed
    site.outbox.settle_all()
    await ending

    last = wire.transport.written.rpartition(b"HTTP/1.1 ")[2]
    body = last.rpartition(b"\r\n")[2]
    end = b"Connection: close\r\n"
    assert ACCEPTED % (len(body), end, body) == dateless(b"HTTP/1.1 " + last)
    assert [200, 200] == statuses(wire.transport.written)
    assert 2 == len(site.outbox.messages)


async def test_the_service_ends_in_mid_body():
    """A request that has begun may still end."""
    site = Site()
    wire = await site.proven()
    await wire.send(request(ONE)[:-5])
    site.server.pre_shutdown()
    ending = asyncio.create_task(site.server.shutdown(5))
    answer = await wire.send(request(ONE)[-5:])
    await ending

    assert [200] == statuses(answer)
    assert b"Connection: close" in answer


async def test_the_service_ends_without_grace():
    """Who is still waiting is cut off; the event is accepted."""
    site = Site()
    wire = await site.proven()
    site.outbox.is_slow = True
    await wire.send(request(ONE))
    site.server.pre_shutdown()
    await site.server.shutdown(0)
    site.outbox.settle_all()

    assert [200] == statuses(wire.transport.written)
    assert 2 == site.metrics.published.labels("superoffice").value
