"""Several endpoints and several exchanges, by configuration alone."""

import asyncio
import json
from typing import Any

from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome
from tests.helpers import amqp, consumer_queue, drain, eventually, id_of, ids
from tests.serving import sign, webhook

ROUTES = json.dumps(
    [
        {"match": "contact.deleted", "exchange": "other", "format": "raw"},
        {
            "match": "contact.*",
            "exchange": "crm.contacts",
            "routing_key": "{context}.{entity}.{action}",
        },
        {"match": "list.#", "exchange": "other"},
    ]
)


async def test_routes_choose_exchange_key_and_format(serving, broker):
    """The first match wins; what matches none goes to the broker's exchange."""
    consumer_queue(broker, "contacts", "#", exchange="crm.contacts")
    consumer_queue(broker, "deleted", "#", exchange="other")
    consumer_queue(broker, "all", "#")
    deleted = webhook(Event="contact.deleted", EventId="d")
    changed = webhook(Event="contact.changed", EventId="c")
    listed = webhook(Event="list.category.created", Entity="list.category", EventId="l")
    sold = webhook(Event="sale.sold", EventId="s")
    bodies = [changed, deleted, listed, sold]
    async with serving(BRIDGE_ROUTES=ROUTES) as client:
        answers = [await client.post(body) for body in bodies]

    assert ["published"] * 4 == [content["status"] for _, content, _ in answers]
    [(method, properties, _)] = drain(broker, "contacts")
    assert (method.routing_key, properties.message_id) == (
        "cust20001.contact.changed",
        id_of(changed),
    )
    raw, listed = drain(broker, "deleted")
    assert (raw[0].routing_key, raw[1].content_type, raw[2]) == (
        "contact.deleted",
        "application/json",
        deleted,
    )
    assert 4711 == raw[1].headers["primary_key"]
    assert (
        "list.category.created",
        "application/cloudevents+json",
    ) == (listed[0].routing_key, listed[1].content_type)
    assert ids(broker, "all") == [id_of(sold)]


async def test_unrouted_on_any_exchange(serving, broker):
    """A returned event is kept with its origin, whichever exchange returned it."""
    async with serving(BRIDGE_ROUTES=ROUTES) as client:
        _, content, _ = await client.post(webhook(EventId="c"))

    [(_, properties, _)] = drain(broker, UNROUTED)
    assert "unrouted" == content["status"]
    assert "crm.contacts" == properties.headers["original_exchange"]
    assert "cust20001.contact.changed" == properties.headers["original_routing_key"]


async def test_endpoints_are_separate(serving, broker):
    """Own paths, secrets, contexts and sources; a duplicate on one is new on the other."""
    endpoints = [
        {
            "name": name,
            "path": f"/{name}",
            "secrets": [{"env": f"SECRET_{name.upper()}"}],
            "contexts": ["Default"],
            "source": f"/superoffice/{name}",
        }
        for name in ("oslo", "bergen")
    ]
    consumer_queue(broker, "all", "#")
    body = webhook(EventId="same", ContextIdentifier="Default")
    environ = {
        "BRIDGE_ENDPOINTS": json.dumps(endpoints),
        "SECRET_OSLO": "one",
        "SECRET_BERGEN": "two",
    }
    async with serving(**environ) as client:
        answers = [
            await client.post(body, path=f"/{name}", signature=sign(body, secret))
            for name, secret in (("oslo", b"one"), ("bergen", b"two"), ("oslo", b"two"))
        ]

    assert [200, 200, 401] == [status for status, *_ in answers]
    found = [(p.headers["endpoint"], json.loads(b)["source"]) for _, p, b in drain(broker, "all")]
    assert [("oslo", "/superoffice/oslo"), ("bergen", "/superoffice/bergen")] == found


async def test_percent_encoded_path(serving):
    """A path with escapes is found however the sender spells them."""
    secrets = [{"env": "SUPEROFFICE_SECRET"}]
    endpoints = [{"name": "a", "path": "/kj%C3%B8p", "secrets": secrets}]
    async with serving(BRIDGE_ENDPOINTS=json.dumps(endpoints)) as client:
        answers = [await client.post(webhook(), path=path) for path in ("/kj%C3%B8p", "/kjøp")]

    assert [200, 200] == [status for status, *_ in answers]


async def test_missing_exchange_holds_only_its_own_events(serving, broker):
    """Events of an exchange that is wrong wait on disk while others go on, and follow later."""
    with amqp(broker) as channel:
        channel.exchange_declare("crm.contacts", "fanout", durable=True)
    consumer_queue(broker, "all", "#")
    changed = webhook(EventId="c")
    sold = [webhook(Event="sale.sold", EventId=f"s{n}") for n in range(3)]
    async with serving(wait=False, BRIDGE_ROUTES=ROUTES) as client:
        await eventually(lambda: client.service.publisher.is_up)
        held = await client.post(changed)
        others = [await client.post(body) for body in sold]
        with amqp(broker) as channel:
            channel.exchange_delete("crm.contacts")
        consumer_queue(broker, "contacts", "#", exchange="crm.contacts")
        client.service.publisher._topology._due_at = 0.0
        await eventually(lambda: client.service.spool.events == 0)

    assert "spooled" == held[1]["status"]
    assert ["published"] * 3 == [content["status"] for _, content, _ in others]
    assert (ids(broker, "contacts"), ids(broker, "all")) == (
        [id_of(changed)],
        [id_of(body) for body in sold],
    )


async def test_refused_event_holds_only_its_record(serving, broker):
    """A full queue refuses one record's event: it waits and comes later, others go on."""
    full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "sale.sold", **full)
    consumer_queue(broker, "all", "contact.#")
    one = webhook(Event="sale.sold", EventId="s1", PrimaryKey=1)
    two = webhook(Event="sale.sold", EventId="s2", PrimaryKey=2)
    three = webhook(Event="sale.sold", EventId="s3", PrimaryKey=2)
    changed = webhook(EventId="c")
    async with serving() as client:
        first = await client.post(one)
        second = await client.post(two)
        third = await client.post(three)
        other = await client.post(changed)
        held = client.service.drain.held_records
        assert await asyncio.to_thread(ids, broker, "full") == [id_of(one)]
        await eventually(lambda: client.service.spool.events == 1)  # s2 has taken the place
        assert await asyncio.to_thread(ids, broker, "full") == [id_of(two)]
        await eventually(lambda: client.service.spool.events == 0)

    statuses = [content["status"] for _, content, _ in (first, second, third, other)]
    assert ["published", "spooled", "spooled", "published"] == statuses
    assert (held, ids(broker, "full"), ids(broker, "all")) == (1, [id_of(three)], [id_of(changed)])
    assert Outcome.SPOOLED.value == second[1]["status"]
