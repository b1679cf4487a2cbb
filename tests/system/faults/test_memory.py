"""Memory that ends in the middle of a request: nothing is said of the event, which comes again."""

import resource
from contextlib import contextmanager
from pathlib import Path

import orjson

from bridge.dev.samples import sample
from tests.system.faults.client import Connection
from tests.system.faults.ledger import CONCURRENT
from tests.system.faults.webhooks import signature
from tests.system.faults.world import ROW_LIMIT

pytestmark = ROW_LIMIT

MORE = 4 * 1024 * 1024
"""Enough for a body of a megabyte, but not for all that is in it."""


async def test_memory_ends(world):
    """A body for which there is no memory is answered 503, not parked as one that is not JSON."""
    async with world() as row:
        event_id, number = row.ledger.issue(CONCURRENT, 7)
        event = sample("contact.changed", primary_key=7, event_id=event_id, changed_by=number)
        request = post(orjson.dumps({**event, "Padding": [1] * 500_000}))
        client = Connection(row.bridge.port)
        with memory(row.bridge.pid, more=MORE):
            refused = await client.send(request)
        accepted = await client.send(request)
        row.ledger.accept(number)
        client.close()
        await row.logs("memory_exhausted")
        counts = await row.counts("memory that ends in a request")

        assert counts.is_clean
        assert refused is not None
        assert accepted is not None
        assert (503, 200) == (refused.status, accepted.status)
        assert "published" == orjson.loads(accepted.body)["status"]


def post(body):
    """Return the bytes of a signed request."""
    head = (
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-SuperOffice-Signature: {signature(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def memory(pid, *, more):
    """Let a process have no more memory than it has, and so many bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    used = int(status.partition("VmSize:")[2].split()[0]) * 1024
    before = resource.prlimit(pid, resource.RLIMIT_AS, (used + more, -1))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)
