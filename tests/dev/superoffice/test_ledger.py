"""The ledger as an oracle: it must say what happened on the wire, whatever happens."""

import asyncio
import random

import orjson
import pytest

from bridge.dev.superoffice.ledger import Cause, Fate
from bridge.dev.superoffice.lifecycle import State
from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition

STATUSES = [200] * 6 + [500, 503, 401, 410, None]
"""What a receiver answers; None is a connection that ends without an answer."""


@pytest.mark.parametrize("seed", range(5))
async def test_every_event_has_its_end(twins, receiver, seed):
    """After any history the ledger and the receiver agree on every event and every attempt."""
    chance = random.Random(seed)
    answered: dict[str, list[int]] = {}

    async def decide(received):
        event_id = received.headers["X-SuperOffice-EventId"]
        if received.headers["X-SuperOffice-Event"] == "test":
            return 200
        status = chance.choice(STATUSES)
        answered.setdefault(event_id, []).append(status or 0)
        if status is None:
            raise ConnectionResetError
        return status

    receiver.decide = decide
    async with twins(Rules(pauses=(0.01, 0.04)), speed=1) as client:
        await client.make(receiver.url)
        ledger = client.twin.ledger
        for _ in range(60):
            await act(chance, client, receiver)
        await asyncio.wait_for(client.twin.tenant.sender.idle(), 30)

    events = [entry for entry in ledger.entries if entry.event == "contact.created"]
    assert [] == list(ledger.waiting())
    assert {Fate.ACCEPTED, Fate.DISCARDED} == {entry.fate for entry in events}
    for entry in events:
        seen = answered.pop(entry.event_id, [])
        if entry.cause is not Cause.RECYCLED:
            # A broken connection is answered 500 by the server of the test.
            assert [status or 500 for status in seen] == [one.status for one in entry.attempts]
        assert (entry.fate is Fate.ACCEPTED) == (200 in [one.status for one in entry.attempts])
        assert len(entry.attempts) == 3 or entry.cause is not Cause.FAILED
        assert (entry.cause is Cause.GONE) == (410 in [one.status for one in entry.attempts])
        assert entry.settled is not None
        assert entry.settled >= entry.raised
    assert {} == answered


async def act(chance, client, receiver):
    """Do one of the things that happen to a feed."""
    tenant = client.twin.tenant
    webhook = next(iter(tenant.webhooks.values()), None)
    match chance.choice(["event"] * 12 + ["pause"] * 4 + ["on", "stop", "recycle", "delete"]):
        case "event":
            tenant.raise_event("contact.created")
        case "pause":
            await asyncio.sleep(0.02)
        case "on" if webhook:
            await tenant.set_state_by_hand(webhook, State.ACTIVE)
        case "stop" if webhook:
            await tenant.set_state_by_hand(webhook, State.STOPPED)
        case "recycle":
            await tenant.sender.recycle()
        case "delete" if webhook:
            tenant.delete(webhook)
            await tenant.make_by_hand(definition(receiver.url, "contact.created"))


async def test_changes_tell_how_long_a_feed_was_off(client, receiver):
    """From the changes of state one can tell when a webhook was off."""
    await client.make(receiver.url)
    receiver.script.append(410)
    client.twin.tenant.raise_event("contact.created")
    await client.twin.tenant.sender.idle()
    client.twin.tenant.raise_event("contact.created")
    await client.call("PATCH", "/v1/Webhook/1", {"State": "Active"})

    _, off, on = client.twin.ledger.changes
    [gone, lost] = client.twin.ledger.discarded()
    assert (State.TOO_MANY_ERRORS, State.ACTIVE) == (off.after, on.after)
    assert gone.raised <= off.at <= lost.raised <= on.at
    assert [lost] == list(client.twin.ledger.discarded(Cause.OFF))


async def test_as_data(client, receiver):
    """All of it can be written as JSON, with times as ISO 8601 and names as texts."""
    await client.make(receiver.url)
    client.twin.tenant.raise_event("contact.created", primary_key=5)
    await client.twin.tenant.sender.idle()
    data = orjson.loads(orjson.dumps(client.twin.ledger.as_data()))

    assert {"entries", "tests", "changes", "calls"} == set(data)
    [entry] = data["entries"]
    assert ("contact.created", 5, "accepted", 1) == tuple(
        entry[name] for name in ("event", "primary_key", "fate", "webhook_id")
    )
    assert entry["raised"].endswith("+00:00")
