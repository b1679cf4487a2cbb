"""What becomes of ids across an upgrade from a version whose ids were the EventIds."""

from __future__ import annotations

import json

from bridge.spool import opened
from tests.helpers import consumer_queue, drain, eventually, id_of, message
from tests.serving import webhook


async def test_what_is_stored_keeps_its_id(serving, broker, tmp_path):
    """It comes as the older version spooled it; an attempt that comes late is another message."""
    consumer_queue(broker, "all", "#")
    body = webhook(EventId="event-1")
    stored = message(key="contact.changed", message_id="event-1")
    async with opened(tmp_path / "spool.db", max_bytes=1 << 24, lock_wait=0) as spool:
        spool.append(stored, on_written=lambda row, refusal: None)
        await spool.flush()
    async with serving() as client:
        await eventually(lambda: client.service.spool.events == 0)
        await client.post(body)

    (_, before, old), (_, after, new) = drain(broker, "all")
    assert (before.message_id, old) == ("event-1", stored.body)
    assert (after.message_id, json.loads(new)["eventid"]) == (id_of(body), "event-1")
