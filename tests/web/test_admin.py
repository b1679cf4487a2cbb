"""What operators can see: alive, ready, metrics, and the log."""

import asyncio
import io
import json
import os
from typing import Any

import pytest

from bridge import log
from bridge.dev.rabbitmq import free_port
from bridge.spool import SpoolLocked
from tests.helpers import amqp, consumer_queue, eventually, id_of
from tests.serving import sign, webhook

MEBIBYTE = 1024 * 1024
SMALL = {"BRIDGE_SPOOL__MAX_BYTES": str(MEBIBYTE)}


def dead():
    """Return the URL of no broker."""
    return f"amqp://127.0.0.1:{free_port()}/"


async def test_alive_and_ready(serving):
    """With broker and topology the service is ready, and says what it stands on."""
    async with serving() as client:
        alive = await client.get("/healthz")
        ready = await client.get("/readyz")

    assert 200 == alive[0]
    assert (
        200,
        {
            "ready": True,
            "broker": "up",
            "topology": "verified",
            "spool": {"events": 0, "bytes": 0, "oldest_seconds": 0},
            "aside": [],
        },
    ) == (ready[0], json.loads(ready[1]))
    assert "Server" not in ready[2]


async def test_ready_without_a_broker(serving):
    """While the disk takes events the service is ready, and says that the broker is down."""
    async with serving(wait=False, BRIDGE_BROKER__URLS=dead()) as client:
        await client.post(webhook())
        await eventually(lambda: client.service.drain.oldest_seconds > 0)
        status, text, _ = await client.get("/readyz")
        counted = await client.metric("spool_events")

    found = json.loads(text)
    assert (
        200,
        True,
        "down",
        "pending",
    ) == (status, found["ready"], found["broker"], found["topology"])
    assert (1, 1) == (found["spool"]["events"], counted)
    assert found["spool"]["bytes"] > 300
    assert found["spool"]["oldest_seconds"] > 0


async def fill(client):
    """Send events of some size until the spool has no room for another; return how many it has."""
    statuses = [200]
    while statuses[-1] == 200:
        body = webhook(PrimaryKey=len(statuses), Padding="." * 50_000)
        statuses.append((await client.post(body))[0])
    assert 503 == statuses[-1]
    return len(statuses) - 2


async def test_not_ready_when_nothing_can_take_an_event(serving):
    """Neither broker nor disk: 503, as each event is answered that is no smaller than others."""
    async with serving(wait=False, **SMALL, BRIDGE_BROKER__URLS=dead()) as client:
        events = await fill(client)
        status, text, _ = await client.get("/readyz")

    found = json.loads(text)
    assert (503, False) == (status, found["ready"])
    assert found["spool"]["events"] == events >= 10
    assert found["spool"]["bytes"] < MEBIBYTE


async def test_ready_with_a_full_spool_when_the_broker_is_up(serving, broker):
    """What RabbitMQ refuses fills the spool, and keeps nobody else from being published."""
    full: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "contact.#", **full)
    async with serving(wait=False, **SMALL, BRIDGE_BROKER__URLS=dead()) as client:
        events = await fill(client)
    async with serving(**SMALL) as client:
        await eventually(lambda: client.service.drain.held_records == events)
        status, text, _ = await client.get("/readyz")
        other = await client.post(webhook(Event="sale.sold", Padding="." * 50_000))
        waiting = client.service.spool.events

    assert (status, json.loads(text)["spool"]["events"]) == (200, events)
    assert (other[0], waiting) == (200, events)


async def test_wrong_exchange_is_told(serving, broker):
    """A topology that cannot be used is named as such."""
    with amqp(broker) as channel:
        channel.exchange_declare("superoffice", "fanout", durable=True)
    async with serving(wait=False) as client:
        await eventually(lambda: client.service.publisher.broker == "up")
        ready = await client.get("/readyz")

    status = json.loads(ready[1])
    assert (200, "up", "mismatch") == (ready[0], status["broker"], status["topology"])


async def test_unknown_page_and_method(serving):
    """The admin listener has three pages to read, and tells so."""
    async with serving() as client:
        missing = await client.get("/webhook")
        posted = await client.get("/metrics", method="POST")

    assert (404, 405, "GET, HEAD") == (missing[0], posted[0], posted[2]["Allow"])
    assert "/readyz" in json.loads(missing[1])["detail"]


async def test_metrics_count_what_happened(serving, broker):
    """Requests, answers, refusals and latencies are counted by bounded labels."""
    consumer_queue(broker, "all", "contact.#")
    async with serving() as client:
        await client.post(webhook())
        await client.post(webhook(Event="sale.sold"))
        await client.post(b"{")
        await client.post(webhook(), signature=sign(b"other"))
        await client.post(webhook(), path="/nowhere")
        one = {"endpoint": "superoffice"}
        counts = {
            name: await client.metric(name, **labels)
            for name, labels in {
                "received_total": one,
                "published_total": one,
                "unrouted_total": one,
                "parked_total": {**one, "reason": "not_json"},
                "rejected_total": {**one, "reason": "signature_mismatch"},
                "in_flight": {},
                "broker_state": {"state": "up"},
                "topology_state": {"state": "pending"},
                "dedup_events": {},
            }.items()
        }
        nowhere = await client.metric("rejected_total", endpoint="-", reason="path")
        totals = await client.metric("stage_seconds_count", stage="total")
        publishes = await client.metric("stage_seconds_count", stage="deliver")

    assert {
        "received_total": 4,
        "published_total": 1,
        "unrouted_total": 1,
        "parked_total": 1,
        "rejected_total": 1,
        "in_flight": 0,
        "broker_state": 1,
        "topology_state": 0,
        "dedup_events": 2,
    } == counts
    assert (1, 3, 3) == (nowhere, totals, publishes)


async def test_log_has_action_and_event_id_and_no_secrets(serving, broker):
    """Every record of a request names its event; no body, secret or password is in any record."""
    consumer_queue(broker, "all", "contact.changed")
    stream = io.StringIO()
    log.configure(level="debug", format="json", stream=stream)
    async with serving(secret=b"Top-Secret-1") as client:
        body = webhook(EventId="event-1", Marker="body-content")
        await client.post(body, signature=sign(body, b"Top-Secret-1"))
        await client.post(body, signature=sign(body, b"Top-Secret-1"))
        header = {"X-SuperOffice-EventId": "event-2"}
        await client.post(webhook(EventId="event-2"), signature=sign(b"x"), headers=header)
        unrouted = webhook(EventId="event-3", Event="sale.sold")
        await client.post(unrouted, signature=sign(unrouted, b"Top-Secret-1"))

    lines = stream.getvalue().splitlines()
    records = [json.loads(line) for line in lines]
    assert all(record["action"] and record["level"] and record["timestamp"] for record in records)
    by_event = [(r["action"], r["event_id"]) for r in records if "event_id" in r]
    assert by_event == [
        ("event_published", id_of(body)),
        ("event_duplicate", id_of(body)),
        ("request_refused", "event-2"),
        ("event_unrouted", id_of(unrouted)),
    ]
    for hidden in ("Top-Secret-1", "body-content", "guest:guest", sign(body, b"Top-Secret-1")):
        assert hidden not in "".join(lines)


async def test_busy_port_is_an_error(serving, tmp_path):
    """A port that is taken is the operator's to free: the error is not swallowed."""
    async with serving() as client:
        environ = {
            "BRIDGE_SERVER__PORT": str(client.service.listener.port),
            "BRIDGE_SPOOL__PATH": str(tmp_path / "other.db"),
        }
        with pytest.raises(OSError, match="in use"):
            async with serving(wait=False, **environ):
                pass


async def test_one_process_per_spool(serving):
    """A second service on the same spool waits for a while and then names the first."""
    async with serving():
        with pytest.raises(SpoolLocked, match=rf"in use by process {os.getpid()} on "):
            async with serving(wait=False, BRIDGE_SERVER__SHUTDOWN_GRACE_SECONDS="0"):
                pass


async def test_requests_in_flight_finish_at_shutdown(serving, node, broker):
    """Stopping waits for answers that are on their way, and is not ready for more."""
    consumer_queue(broker, "all", "#")
    async with serving() as client:
        await asyncio.to_thread(node.freeze)
        answers = [asyncio.create_task(client.post(webhook())) for _ in range(10)]
        outbox = client.service.outbox
        await eventually(lambda: len(outbox._pending) == 10)  # one record, one at a time
        stopping = asyncio.create_task(client.service.listener.stop())
        await asyncio.sleep(0)
        ready, _, _ = await client.get("/readyz")
        await asyncio.to_thread(node.thaw)
        statuses = [(await answer)[0] for answer in answers]
        await stopping

    assert [200] * 10 == statuses
    assert 503 == ready
