"""The twin in front of a real bridge and a real RabbitMQ."""

import asyncio
import json

from bridge.dev.superoffice.rules import Rules
from tests.helpers import consumer_queue, drain
from tests.serving import SECRET


async def test_a_feed(serving, broker, twins):
    """What the twin's ledger calls accepted is in the queue, and its test is answered."""
    consumer_queue(broker, "all", "#")
    async with serving() as bridge, twins(Rules(is_online=False), context="Default") as client:
        url = bridge.service.listener.url
        await client.make(url, "contact.created", "sale.sold", Secret=SECRET.decode())
        for number in range(1, 21):
            client.twin.tenant.raise_event("contact.created", primary_key=number)
            client.twin.tenant.raise_event("sale.sold", primary_key=number)
        await asyncio.wait_for(client.twin.tenant.sender.idle(), 30)
        ledger = client.twin.ledger

    assert [] == list(ledger.discarded())
    accepted = {(entry.event, entry.primary_key) for entry in ledger.accepted()}
    assert 40 == len(accepted)
    received = [json.loads(body)["data"] for _, _, body in drain(broker, "all")]
    assert accepted == {(one["event"], one["primary_key"]) for one in received}


async def test_a_wrong_secret(serving, twins):
    """A webhook with another secret than the bridge's cannot even be saved."""
    async with serving() as bridge, twins() as client:
        content = {
            "Name": "x",
            "Events": ["contact.created"],
            "TargetUrl": f"{bridge.service.listener.url}/webhook",
            "Secret": "another",
        }
        status, answer, _ = await client.call("POST", "/v1/Webhook", content)

    assert 500 == status
    assert "signature" in answer["ErrorMessage"].lower()
