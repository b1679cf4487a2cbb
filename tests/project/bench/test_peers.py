"""A peer of equal work publishes what the bridge publishes."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bench import parity
from bench.peers import equal
from bench.pool import EVENT, Bodies, event_id
from bridge.dev.samples import request_headers

SECRET = b"a secret"


class Exchange:
    """Takes what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[Any, str]] = []

    async def publish(self, message: Any, routing_key: str, *, mandatory: bool) -> None:
        assert mandatory
        self.published.append((message, routing_key))


@pytest.fixture
def exchange():
    """Return an exchange without a broker."""
    return Exchange()


@pytest.fixture
async def client(exchange, monkeypatch):
    """Yield a client of the Python peer."""
    monkeypatch.setattr(equal, "SECRET", SECRET)
    app = web.Application()
    app.router.add_post("/webhook", equal.Webhook(exchange).handle)
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_python_peer_publishes_our_message(client, exchange):
    """Key, body, properties and headers are the same; the time of receipt aside."""
    body = Bodies()(7)
    headers = request_headers(body, event=EVENT, event_id=event_id(7), secret=SECRET)

    answers = [await client.post("/webhook", data=body, headers=headers) for _ in range(2)]

    assert ["published", "duplicate"] == [(await answer.json())["status"] for answer in answers]
    [(message, key)] = exchange.published
    ours = parity.our_message(body)
    assert (key, message.body, message.headers) == (ours.routing_key, ours.body, ours.headers)
    assert (message.message_id, message.type) == (ours.message_id, ours.type)
    assert (message.content_type, message.delivery_mode) == (ours.content_type, 2)
    assert "superoffice-bridge" == message.app_id


async def test_python_peer_verifies(client, exchange):
    """Another secret's signature is refused before anything else."""
    body = Bodies()(7)
    headers = request_headers(body, event=EVENT, event_id=event_id(7), secret=b"another")

    answer = await client.post("/webhook", data=body, headers=headers)

    assert (401, []) == (answer.status, exchange.published)


def test_difference_is_found():
    """The comparison with Node's peer would see one changed value."""
    ours = parity.as_json(parity.our_message(Bodies()(7)))
    theirs = {**ours, "body": ours["body"].replace('"deleted":false', '"deleted":0')}

    assert parity.difference(ours, ours) is None
    assert "body" in (parity.difference(theirs, ours) or "")


def test_order_of_parts_is_compared_after_parsing():
    """White space in JSON is no difference."""
    ours = parity.as_json(parity.our_message(Bodies()(7)))
    theirs = {**ours, "body": ours["body"].replace('":', '": ')}

    assert parity.difference(theirs, ours) is None
