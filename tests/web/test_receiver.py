"""The HTTP contract, row by row, over real sockets."""

import asyncio
import gzip
import io
import json

import aiohttp
import pytest

from bridge import log
from bridge.core.message import PARKED, UNROUTED
from bridge.dev.rabbitmq import free_port
from tests.helpers import consumer_queue, drain, eventually, id_of, ids
from tests.serving import SECRET, sign, webhook

OSLO = {"name": "oslo", "path": "/oslo", "secrets": [{"env": "SUPEROFFICE_SECRET"}]}
OPEN = {"name": "open", "path": "/open", "allow_unsigned": True, "contexts": ["Cust2"]}
BODY = webhook(EventId="event-1")
TEST = webhook(EventId="t", Event="test", Entity=None)
TWO_ENDPOINTS = json.dumps([{**OSLO, "contexts": ["Cust1"]}, OPEN])


async def raw(service, data, *, until=b"\r\n\r\n"):
    """Send bytes as they are and return the whole answer of a connection that then ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.listener.port)
    writer.write(data)
    await writer.drain()
    try:
        async with asyncio.timeout(10):
            return await (reader.read() if until is None else reader.readuntil(until))
    finally:
        writer.close()
        await writer.wait_closed()


def is_problem(status, content, headers):
    """Check the shape of an error: RFC 9457, short, silent about the server."""
    assert "application/problem+json" == headers["Content-Type"]
    assert "Server" not in headers
    assert {"title", "status", "detail"} == set(content)
    assert content["status"] == status
    return status


async def test_published(serving, broker):
    """A signed event that a queue is bound for: 200, published, and it is in the queue."""
    consumer_queue(broker, "all", "contact.changed")
    body = BODY
    async with serving() as client:
        status, content, headers = await client.post(body)

    assert (status, content) == (200, {"status": "published", "id": id_of(BODY)})
    assert "application/json" == headers["Content-Type"]
    assert "Server" not in headers
    assert ids(broker, "all") == [id_of(BODY)]


async def test_unrouted(serving, broker):
    """Nobody bound: 200, unrouted, and it is in superoffice.unrouted."""
    async with serving() as client:
        status, content, _ = await client.post(BODY)
        assert 1 == await client.metric("unrouted_total", endpoint="superoffice")

    assert (status, content) == (200, {"status": "unrouted", "id": id_of(BODY)})
    assert ids(broker, UNROUTED) == [id_of(BODY)]


async def test_duplicate(serving, broker):
    """The same event again: 200, duplicate, and no second message."""
    consumer_queue(broker, "all", "#")
    async with serving() as client:
        answers = [await client.post(BODY) for _ in range(3)]

    assert [
        "published",
        "duplicate",
        "duplicate",
    ] == [content["status"] for _, content, _ in answers]
    assert [200, 200, 200] == [status for status, *_ in answers]
    assert ids(broker, "all") == [id_of(BODY)]


@pytest.mark.parametrize("event_id", ["00000000-0000-0000-0000-000000000000", "event-1"])
async def test_events_that_share_an_event_id(serving, broker, event_id):
    """All are published, each once; ``source`` and ``id`` tell them apart, ``eventid`` does not."""
    consumer_queue(broker, "all", "#")
    bodies = [webhook(EventId=event_id, PrimaryKey=key) for key in (*range(5), *range(5))]
    async with serving() as client:
        answers = [(await client.post(body))[1] for body in bodies]

    assert ["published"] * 5 + ["duplicate"] * 5 == [answer["status"] for answer in answers]
    events = [json.loads(body) for _, _, body in drain(broker, "all")]
    assert {event.get("eventid") for event in events} == {event_id if "event" in event_id else None}
    assert 5 == len({(event["source"], event["id"]) for event in events})
    assert [answer["id"] for answer in answers] == [event["id"] for event in events] * 2


async def test_duplicates_at_once(serving, broker):
    """Attempts that overlap wait for the first: one message, all told 200."""
    consumer_queue(broker, "all", "#")
    async with serving() as client:
        answers = await asyncio.gather(*(client.post(BODY) for _ in range(10)))

    statuses = sorted(content["status"] for _, content, _ in answers)
    assert ["duplicate"] * 9 + ["published"] == statuses
    assert ids(broker, "all") == [id_of(BODY)]


async def test_test_event(serving, broker):
    """SuperOffice's test: 200, ignored, nothing published."""
    async with serving() as client:
        status, content, _ = await client.post(TEST)

    assert (status, content) == (200, {"status": "ignored", "id": id_of(TEST)})
    assert [] == ids(broker, UNROUTED)


async def test_test_event_without_a_broker(serving):
    """Registration works while RabbitMQ is down."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    async with serving(wait=False, BRIDGE_BROKER__URLS=dead) as client:
        status, content, _ = await client.post(webhook(Event="test"))

    assert (200, "ignored") == (status, content["status"])


async def test_test_event_can_be_published(serving, broker):
    """publish_test_events treats it as any event; its key is the bare name."""
    consumer_queue(broker, "all", "test")
    endpoint = {"name": "a", "path": "/webhook", "secrets": [{"env": "SUPEROFFICE_SECRET"}]}
    endpoints = json.dumps([{**endpoint, "publish_test_events": True}])
    async with serving(BRIDGE_ENDPOINTS=endpoints) as client:
        status, content, _ = await client.post(TEST)

    assert (200, "published") == (status, content["status"])
    assert ids(broker, "all") == [id_of(TEST, endpoint="a")]


PARKED_BODIES = {
    "not_utf8": b'{"Event":"contact.\xff"}',
    "not_json": b'{"Event":',
    "not_object": b'["contact.created"]',
    "no_event": b'{"EventId":"x"}',
}


@pytest.mark.parametrize(("reason", "body"), PARKED_BODIES.items())
async def test_parked(serving, broker, reason, body):
    """Authentic but unreadable: 200, parked with the reason, and the raw bytes are kept."""
    async with serving() as client:
        status, content, _ = await client.post(body, headers={"X-SuperOffice-Retry": "2"})
        assert 1 == await client.metric("parked_total", endpoint="superoffice", reason=reason)

    assert (status, content["status"], content["reason"]) == (200, "parked", reason)
    [(_, properties, kept)] = drain(broker, PARKED)
    assert kept == body
    assert properties.headers["reason"] == reason
    assert "superoffice" == properties.headers["endpoint"]
    assert "2" == properties.headers["retry"]
    assert properties.headers["time"].startswith("20")


async def test_parked_body_beyond_frame_max(serving, broker):
    """A large unreadable delivery is kept whole."""
    body = b"[" + b" " * 500_000 + b"]"
    async with serving() as client:
        status, content, _ = await client.post(body)

    assert (200, "parked") == (status, content["status"])
    assert [kept for *_, kept in drain(broker, PARKED)] == [body]


@pytest.mark.parametrize(("reason", "body"), PARKED_BODIES.items())
async def test_unreadable_on_an_unsigned_endpoint(serving, broker, reason, body):
    """Anybody could have sent it: 400, and nothing is kept."""
    async with serving(BRIDGE_ENDPOINTS=TWO_ENDPOINTS) as client:
        answer = await client.post(body, path="/open")
        assert 1 == await client.metric("rejected_total", endpoint="open", reason=reason)

    assert 400 == is_problem(*answer)
    assert [] == drain(broker, PARKED)


SIGNATURE = sign(BODY)


@pytest.mark.parametrize(
    ("reason", "values"),
    [
        ("missing", []),
        ("malformed", [b""]),
        ("malformed", [b"sha256=" + SIGNATURE.encode()]),
        ("malformed", [SIGNATURE.encode()[:-1]]),
        ("malformed", ["é".encode() * 22]),
        ("malformed", [b"\xff\xfe" * 22]),
        ("mismatch", [sign(BODY, b"other").encode()]),
        ("mismatch", [sign(BODY + b"\n").encode()]),
        ("repeated", [SIGNATURE.encode(), SIGNATURE.encode()]),
    ],
)
async def test_wrong_signature(serving, broker, reason, values):
    """Missing, wrong, non-ASCII or sent twice: 401 with a challenge, and nothing is published."""
    head = (
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n"
        % len(BODY)
    )
    lines = b"".join(b"X-SuperOffice-Signature: " + value + b"\r\n" for value in values)
    async with serving() as client:
        answer = await raw(client.service, head + lines + b"\r\n" + BODY, until=None)
        rejected = await client.metric(
            "rejected_total", endpoint="superoffice", reason=f"signature_{reason}"
        )

    start, _, content = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 401 ")
    assert b"WWW-Authenticate: SuperOffice-Signature" in start
    assert b"Server:" not in start
    assert 401 == json.loads(content)["status"]
    assert 1 == rejected
    assert [] == ids(broker, UNROUTED)


async def test_either_of_two_secrets(serving):
    """While a secret is rotated both sign; a third does not."""
    secrets = [{"env": "SUPEROFFICE_SECRET"}, {"env": "SUPEROFFICE_PREVIOUS"}]
    endpoints = json.dumps([{"name": "a", "path": "/webhook", "secrets": secrets}])
    environ = {"BRIDGE_ENDPOINTS": endpoints, "SUPEROFFICE_PREVIOUS": "old"}
    async with serving(**environ) as client:
        bodies = [webhook() for _ in range(3)]
        keys = (SECRET, b"old", b"none")
        answers = [
            await client.post(b, signature=sign(b, k)) for b, k in zip(bodies, keys, strict=True)
        ]

    assert [200, 200, 401] == [status for status, *_ in answers]


async def test_foreign_context(serving, broker):
    """A ContextIdentifier that is present must be one of the endpoint's; an absent one may pass."""
    async with serving(BRIDGE_ENDPOINTS=TWO_ENDPOINTS) as client:
        ours = await client.post(webhook(ContextIdentifier="Cust1"), path="/oslo")
        foreign = await client.post(webhook(ContextIdentifier="Cust2"), path="/oslo")
        odd = await client.post(webhook(ContextIdentifier=["Cust1"]), path="/oslo")
        empty = await client.post(webhook(ContextIdentifier=""), path="/oslo")
        absent = await client.post(webhook(ContextIdentifier=None), path="/oslo")
        test = await client.post(webhook(ContextIdentifier="Cust2", Event="test"), path="/oslo")

    assert [200, 200, 200] == [ours[0], absent[0], test[0]]
    assert [403, 403, 403] == [is_problem(*answer) for answer in (foreign, odd, empty)]


async def test_unknown_path(serving):
    """Only the endpoints' paths exist, to the last slash."""
    async with serving() as client:
        answers = [await client.post(BODY, path=path) for path in ("/", "/webhook/", "/healthz")]

    assert [404, 404, 404] == [is_problem(*answer) for answer in answers]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_wrong_method(serving, method):
    """Webhooks are POSTs; anything else is told so."""
    async with serving() as client:
        status, text, headers = await client.get(
            "/webhook", method=method, url=client.service.listener.url
        )

    assert 405 == is_problem(status, json.loads(text), headers)
    assert "POST" == headers["Allow"]


async def test_slow_body(serving):
    """A body that does not come: 408 after read_timeout_seconds, and the connection ends."""
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    async with serving(BRIDGE_SERVER__READ_TIMEOUT_SECONDS="0.2") as client:
        answer = await raw(client.service, head)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_body(serving, chunked):
    """A body over the limit: 413, announced or not; one at the limit passes."""

    async def chunks(size):
        yield b" " * size

    async with serving(BRIDGE_SERVER__MAX_BODY_BYTES="1000") as client:
        url = f"{client.service.listener.url}/webhook"
        answers = []
        for size in (1000, 1001):
            body = b" " * size
            headers = {"X-SuperOffice-Signature": sign(body)}
            data = chunks(size) if chunked else body
            async with client._session.post(url, data=data, headers=headers) as response:
                answers.append(
                    (response.status, await response.json(content_type=None), response.headers)
                )

    assert answers[0][:2] == (
        200,
        {"status": "parked", "reason": "not_json", "id": answers[0][1]["id"]},
    )
    assert 413 == is_problem(*answers[1])


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "x-own"])
async def test_encoded_body(serving, broker, encoding):
    """The signature covers the wire: anything encoded is refused, and never decoded."""
    body = gzip.compress(BODY) if encoding == "gzip" else b"not encoded at all"
    async with serving() as client:
        answer = await client.post(body, headers={"Content-Encoding": encoding})

    assert 415 == is_problem(*answer)


@pytest.mark.parametrize(
    ("encodings", "expected"),
    [(("identity",), 200), (("Identity", "identity"), 200), (("identity", "gzip"), 415)],
)
async def test_identity_encoding(serving, encodings, expected):
    """Content-Encoding: identity is no encoding; of several headers each one counts."""
    headers = [("Content-Encoding", encoding) for encoding in encodings]
    async with serving() as client:
        signature = ("X-SuperOffice-Signature", SIGNATURE)
        url = f"{client.service.listener.url}/webhook"
        async with aiohttp.request("POST", url, data=BODY, headers=[*headers, signature]) as answer:
            status = answer.status

    assert status == expected


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"echo-this nonsense\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: echo-this\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nbad header echo-this\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nX: " + b"echo-this" * 2000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01echo-this\r\n\r\n",
    ],
)
async def test_malformed_http(serving, request_bytes):
    """What is not HTTP is answered 400 as a problem, with nothing of it echoed."""
    async with serving() as client:
        answer = await raw(client.service, request_bytes, until=None)

    start, _, content = answer.partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in start
    assert b"Connection: close" in start
    assert b"Server:" not in start
    assert 400 == json.loads(content)["status"]
    assert b"echo-this" not in answer


async def test_malformed_chunks(serving):
    """A body whose chunks are broken is the sender's fault, not ours."""
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n"
    async with serving() as client:
        answer = await raw(client.service, head)

    assert b"400" == answer.split(b" ")[1]


async def test_spooled_while_the_broker_is_away(serving):
    """Broker away: 200 from the disk without waiting for the deadline; a repeat is a duplicate."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    environ = {"BRIDGE_BROKER__URLS": dead, "BRIDGE_BROKER__CONFIRM_DEADLINE_SECONDS": "4.9"}
    async with serving(wait=False, **environ) as client:
        async with asyncio.timeout(4.8):  # all three, before the first deadline
            answers = [await client.post(BODY), await client.post(BODY), await client.post(b"{")]
        spooled = client.service.spool.events

    assert [200, 200, 200] == [status for status, *_ in answers]
    assert ["spooled", "duplicate", "parked"] == [content["status"] for _, content, _ in answers]
    assert 2 == spooled


async def test_spooled_at_the_deadline(serving, node, broker):
    """A frozen broker: 200 from the disk at the deadline; its late confirm empties the spool."""
    consumer_queue(broker, "all", "#")
    async with serving(BRIDGE_BROKER__CONFIRM_DEADLINE_SECONDS="0.3") as client:
        await asyncio.to_thread(node.freeze)
        try:
            status, content, _ = await client.post(BODY)
            spooled = client.service.spool.events
        finally:
            await asyncio.to_thread(node.thaw)
        await eventually(lambda: client.service.spool.events == 0)
        late = await client.metric("late_confirms_total")

    assert (200, "spooled", 1, 1) == (status, content["status"], spooled, late)
    assert ids(broker, "all") == [id_of(BODY)]


async def test_nobody_can_take_it(serving):
    """Neither broker nor disk: 503 with Retry-After, and the event is not taken for accepted."""
    dead = f"amqp://127.0.0.1:{free_port()}/"
    environ = {"BRIDGE_BROKER__URLS": dead, "BRIDGE_SPOOL__MAX_BYTES": "1048576"}
    filler = "x" * 500_000
    async with serving(wait=False, **environ) as client:
        filling = [await client.post(webhook(Filler=filler)) for _ in range(2)]
        answers = [await client.post(webhook(Filler=filler, EventId="e")) for _ in range(2)]
        refused = await client.metric(
            "rejected_total", endpoint="superoffice", reason="unavailable"
        )

    assert [200, 200] == [status for status, *_ in filling]
    assert [503, 503] == [is_problem(*answer) for answer in answers]
    assert ("5", 2) == (answers[0][2]["Retry-After"], refused)


async def test_expect_continue(serving):
    """A .NET Framework sender may ask before it sends the body."""
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
        f"Expect: 100-continue\r\nX-SuperOffice-Signature: {SIGNATURE}\r\nConnection: close\r\n\r\n"
    )
    async with serving() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.service.listener.port)
        writer.write(head.encode())
        interim = await reader.readuntil(b"\r\n\r\n")
        writer.write(BODY)
        final = await reader.read()
        writer.close()

    assert b"HTTP/1.1 100 Continue\r\n\r\n" == interim
    assert final.startswith(b"HTTP/1.1 200 ")


async def test_client_that_hangs_up(serving, broker):
    """An event that was sent completely is published although its sender has gone."""
    consumer_queue(broker, "all", "#")
    head = (
        f"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n"
        f"X-SuperOffice-Signature: {SIGNATURE}\r\n\r\n"
    )
    async with serving() as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.service.listener.port)
        writer.write(head.encode() + BODY)
        await writer.drain()
        writer.transport.abort()
        counter = client.service.metrics.published.labels("superoffice")
        await eventually(lambda: counter.value == 1)

    assert ids(broker, "all") == [id_of(BODY)]


@pytest.mark.parametrize("format", ["json", "console"])
async def test_header_that_is_no_text(serving, format):
    """Bytes that are no UTF-8 in a header reach the log as escapes, and break nothing."""
    stream = io.StringIO()
    log.configure(level="debug", format=format, stream=stream)
    head = b"POST /webhook HTTP/1.1\r\nHost: x\r\nX-SuperOffice-EventId: \xff\xfe\r\n"
    async with serving() as client:
        answer = await raw(client.service, head + b"Content-Length: 0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert "\\udcff\\udcfe" in stream.getvalue()


async def test_trace_and_retry_headers_travel(serving, broker):
    """A valid traceparent and retry count are passed on; invalid ones are dropped."""
    consumer_queue(broker, "all", "#")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    good = {"traceparent": trace, "X-SuperOffice-Retry": "2"}
    bad = {"traceparent": trace.replace("00-", "ff-", 1), "X-SuperOffice-Retry": "two"}
    async with serving() as client:
        await client.post(webhook(), headers=good)
        await client.post(webhook(), headers=bad)

    first, second = (properties.headers for _, properties, _ in drain(broker, "all"))
    assert (first["traceparent"], first["retry"]) == (trace, "2")
    assert not {"traceparent", "retry"} & set(second)


async def test_headers_are_compared_but_never_obeyed(serving, broker):
    """The body decides; a header that disagrees is counted."""
    consumer_queue(broker, "all", "#")
    lies = {"X-SuperOffice-Event": "sale.deleted", "X-SuperOffice-EventId": "other"}
    async with serving() as client:
        _, content, _ = await client.post(BODY, headers=lies)
        counted = [
            await client.metric("oddities_total", kind=kind)
            for kind in ("header_event_differs", "header_event_id_differs")
        ]

    [(method, properties, _)] = drain(broker, "all")
    assert content["id"] == properties.message_id == id_of(BODY)
    assert "contact.changed" == method.routing_key
    assert [1, 1] == counted


async def test_enormous_names_do_not_reach_the_frames(serving, broker):
    """Texts as long as a body pass through, cut where AMQP has no room for them."""
    consumer_queue(broker, "all", "#")
    long = "x" * 300_000
    async with serving() as client:
        body = webhook(Event=f"{long}.created", ContextIdentifier=long, PrimaryKey=long)
        status, content, _ = await client.post(body)

    [(method, properties, kept)] = drain(broker, "all")
    assert (200, "published") == (status, content["status"])
    assert 217 == len(method.routing_key)
    assert {217} == {len(properties.headers[name]) for name in ("entity", "context", "primary_key")}
    assert json.loads(kept)["data"]["entity"] == long


async def test_keep_alive_survives_a_refusal(serving):
    """One connection may carry many requests, refused ones among them."""
    async with serving() as client:
        statuses = []
        for signature in (None, sign(b"x"), None):
            status, _, headers = await client.post(webhook(), signature=signature)
            statuses.append((status, headers.get("Connection")))

    assert [(200, None), (401, None), (200, None)] == statuses
