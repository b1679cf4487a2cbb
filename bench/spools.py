"""Makes a spool with many events, as an outage leaves it.

    python -m bench.spools PATH EVENTS FIRST

The events are those of the pool from the number ``FIRST`` on. A program of its own, because it
needs memory that no measurement should see.
"""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from bench.parity import our_message
from bench.pool import FIRST_KEY, Bodies, event_id
from bridge.core.message import Message
from bridge.spool import Row, Spool, SpoolFull, opened

AT_ONCE = 1_000


class Messages:
    """Makes the bridge's messages for events of the pool, faster than by normalizing each."""

    def __init__(self) -> None:
        self._template = our_message(Bodies()(0))

    def __call__(self, number: int) -> Message:
        """Return the message of an event."""
        key, made, name = FIRST_KEY + number, event_id(0), event_id(number)
        one = self._template
        body = one.body.replace(b"%d" % FIRST_KEY, b"%d" % key)
        endpoint, context, entity, _ = one.record or ("", None, "", 0)
        return Message(
            exchange=one.exchange,
            routing_key=one.routing_key,
            body=body.replace(made.encode(), name.encode()),
            content_type=one.content_type,
            message_id=one.message_id.replace(made, name),
            type=one.type,
            timestamp=one.timestamp,
            headers={**one.headers, "primary_key": key},
            record=(endpoint, context, entity, key),
        )


async def fill(spool: Spool, numbers: range) -> None:
    """Append events and wait until they are on disk."""
    made = Messages()
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        for number in some:
            spool.append(made(number), on_written=_stored)
        await spool.flush()


def _stored(row: Row, refusal: SpoolFull | None) -> None:
    if refusal is not None:
        raise refusal


async def main(path: str, events: str, first: str) -> None:
    """Make the spool."""
    async with opened(Path(path), max_bytes=1 << 40, lock_wait=0) as spool:
        await fill(spool, range(int(first), int(first) + int(events)))


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
