"""Any request, however it is cut, has the same answer and the same message by both ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bridge.core.publish import Outcome
from tests.serving import sign, webhook
from tests.strategies.webhooks import bodies
from tests.web.wireless import MAX_BODY, Site, dateless, request, shown

GOOD_BODIES = st.integers(0, 3).map(lambda number: webhook(EventId=f"event-{number}"))
BODIES = st.one_of(
    *(GOOD_BODIES, GOOD_BODIES, GOOD_BODIES, bodies(), st.binary(min_size=1, max_size=40)),
    *(
        st.integers(MAX_BODY - 2, MAX_BODY + 2).map(b"x".__mul__),
        st.sampled_from(("Cust1", "Cust20001")).map(lambda it: webhook(ContextIdentifier=it)),
        st.just(b"a\r\n\r\nPOST / HTTP/1.1\r\n\r\n"),
    ),
)

USUAL = ("Content-Type: application/json", "X-Forwarded-For: 192.0.2.1", "Via: 1.1 proxy")
COUNTING = (
    *("X-SuperOffice-Event: contact.changed", "X-SuperOffice-Event: sale.sold"),
    *("x-superoffice-eventid: 17", "X-SuperOffice-EventId:event-1 ", "X-SuperOffice-Retry: 1"),
    *("X-Superoffice-Retry: x", "traceparent: 00-" + "1" * 32 + "-" + "2" * 16 + "-01"),
    *("traceparent: 00-" + "3" * 32 + "-" + "4" * 16 + "-01", "traceparent: x"),
    *("Connection: keep-alive", "Connection: Keep-Alive", "Expect: 100-continue"),
)
ODD = (
    *("Connection: close", "Connection: upgrade", "Transfer-Encoding: chunked", "TE: trailers"),
    *("Content-Encoding: identity", "Content-Encoding: gzip", "Expect: x", "Keep-Alive: 5"),
    *("Content-Length: 3", "Content-Length: 0", "Content-Length: +7", "Content-Length: 1, 1"),
    *("Host: y", "Content-Type: a", "User-Agent: a", "User-Agent: b", "ETag: a", "ETag: b"),
    *("X-A: \t a", "X-A: b\tc", "X-A: \x01", "X-A: \x7f", "X-A: \xe6", "X-A : b", "X(A): b"),
    *("X-A: b\nX-B: c", "X-A: b\rX-B: c", "X-A: b\r\n c", "X-A", ": b", "X-A:", "X" * 99 + ": b"),
    *("X-SuperOffice-Signature: x", "Sec-WebSocket-Key1: x", "Upgrade: websocket"),
)
LINES = st.one_of(
    *(st.sampled_from(USUAL), st.sampled_from(COUNTING), st.sampled_from(COUNTING)),
)
FIRST_LINES = st.sampled_from(
    (
        *("POST /webhook HTTP/1.1",) * 40,
        *("POST /open HTTP/1.1",) * 5,
        *("POST /a%20b HTTP/1.1", "POST /web%68ook HTTP/1.1", "POST /webhook?x HTTP/1.1"),
        *("POST /webhook HTTP/1.0", "GET /webhook HTTP/1.1", "HEAD /webhook HTTP/1.1"),
        *("POST /nowhere HTTP/1.1", "POST /webhook HTTP/1.1 ", "\r\nPOST /webhook HTTP/1.1"),
    )
)


def once_in(times: int) -> st.SearchStrategy[bool]:
    """Return True once in so many times; hypothesis likes the ends of ranges too well for that."""
    return st.sampled_from((False,) * (times - 1) + (True,))


def _name(line: str) -> str:
    return line.partition(":")[0].lower()


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Make the bytes of one request, most often plain or nearly so."""
    body: bytes = draw(BODIES)
    signature = draw(st.sampled_from((sign(body),) * 15 + (sign(b"other"), "short", None)))
    length = len(body) + draw(st.sampled_from((0,) * 20 + (-1, 1)))
    lines = ["Host: bridge", f"Content-Length: {length}"]
    if signature is not None:
        lines.append(f"X-SuperOffice-Signature: {signature}")
    lines += draw(st.lists(LINES, max_size=4, unique_by=_name))
    if draw(once_in(8)):
        lines.append(draw(st.sampled_from(ODD)))
    if draw(once_in(20)):
        lines.remove(draw(st.sampled_from(("Host: bridge", f"Content-Length: {length}"))))
    lines = draw(st.permutations(lines))
    end = draw(once_in(30).map(lambda bare: "\n" if bare else "\r\n"))
    return end.join([draw(FIRST_LINES), *lines, "", ""]).encode("latin-1") + body


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Make some requests in pieces; a piece may hold parts of two of them."""
    asked = draw(st.lists(requests(), min_size=1, max_size=4))
    pieces: list[bytes] = []
    for one in asked:
        cuts = sorted(draw(st.lists(st.integers(1, len(one) - 1), max_size=2)))
        at_the_body = one.find(b"\r\n\r\n") + 4
        if draw(st.booleans()) and 4 <= at_the_body < len(one):
            cuts = sorted({*cuts, at_the_body})
        if draw(once_in(3)):
            cuts = []
        found = [one[a:b] for a, b in zip([0, *cuts], [*cuts, len(one)], strict=True)]
        if draw(once_in(6)) and pieces:
            pieces[-1] += found.pop(0)
        pieces += found
    return [piece for piece in pieces if piece]


OUTCOMES = st.lists(st.sampled_from(list(Outcome)), max_size=4)


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stop the clock that messages tell the time by."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: 1_800_000_000_123_456_789)
        yield


async def had(
    pieces: list[bytes], outcomes: list[Outcome], *, plain: bool, slow: bool, proven: bool
) -> tuple[object, int]:
    """Return all that came of a conversation, and how many of its requests were plain."""
    site = Site(plain=plain, failures=2)
    wire = await (site.proven() if proven else site.connect())
    site.outbox.is_slow, site.outbox.outcomes = slow, list(outcomes)
    before, answers = site.plain_requests, []
    for piece in pieces:
        answers.append(await wire.send(piece))
        if slow:
            site.outbox.settle_all()
            await wire.settled()
    for _ in range(6):
        site.outbox.settle_all()
        await wire.settled()
    site.server._hand_over(site.server.loop.time())  # as a second later: it is received then
    await wire.settled()
    counts, messages = site.counts, shown(site.outbox.messages)
    written, closed = dateless(wire.transport.written), wire.transport.closed
    if not closed:
        await wire.hang_up()
    return (written, closed, messages, counts), site.plain_requests - before


@given(conversations(), OUTCOMES, st.booleans(), st.booleans())
def test_both_ways_are_one(pieces, outcomes, slow, proven):
    """Answers, their order, the end of the connection, messages and metrics are the same."""
    one, none = asyncio.run(had(pieces, outcomes, plain=False, slow=slow, proven=proven))
    other, plain = asyncio.run(had(pieces, outcomes, plain=True, slow=slow, proven=proven))

    event(f"plain requests: {plain}")
    assert 0 == none
    assert one == other


@pytest.mark.parametrize(("slow", "number"), [(False, 2), (True, 2)])
def test_both_ways_are_taken(slow, number):
    """The property above compares two ways, not one with itself."""
    bodies = [webhook(EventId=f"event-{each}") for each in range(number)]
    pieces = [request(body) for body in bodies]
    found, plain = asyncio.run(had(pieces, [], plain=True, slow=slow, proven=True))

    assert number == plain
    written = found[0]  # type: ignore[index]
    assert number + 1 == written.count(b"HTTP/1.1 200 OK")
    assert number + 1 == written.count(b'"status":"published"')
