"""bridge spool status / list / export: looking at the spool, in use or not."""

import asyncio
import json
import tracemalloc

import pytest

from bridge.spool import opened, rows
from tests.cli.conftest import invoke
from tests.helpers import message


@pytest.fixture
def spooled(directory, monkeypatch):
    """Return a function that runs something while, and something after, a spool is in use."""
    monkeypatch.setenv("SUPEROFFICE_SECRET", "x")
    monkeypatch.setenv("BRIDGE_SPOOL__PATH", "spool.db")
    path = directory / "spool.db"

    def stored(row, refusal):
        assert refusal is None, row

    def run(count, look):
        async def fill():
            async with opened(path, max_bytes=1 << 24, lock_wait=0) as spool:
                for number in range(count):
                    body = b"\xff" if number == 1 else b'{"number":%d}' % number
                    spool.append(message(number, body=body), on_written=stored, tries=number % 2)
                await spool.flush()
                return await asyncio.to_thread(look)

        return asyncio.run(fill()), look()

    return run


def test_status(spooled):
    """How much, how old, how many refused, and the size of the files."""
    during, after = spooled(3, lambda: json.loads(invoke("spool", "status", "--json").stdout))

    assert [("spool.db", 3, 1)] * 2 == [
        (s["path"], s["events"], s["refused"]) for s in (during, after)
    ]
    assert during["bytes"] == after["bytes"] > 600
    assert during["file_bytes"] > 4096
    assert during["oldest_seconds"] <= after["oldest_seconds"]


def test_list_in_pages(spooled):
    """The oldest first; a full page says how to get the next."""
    first, _ = spooled(5, lambda: invoke("spool", "list", "--limit", "2"))
    second = invoke("spool", "list", "--limit", "2", "--after", "2", "--json")

    rows = [line.split("\t") for line in first.stdout.splitlines()]
    assert [
        ("1", "0", "superoffice", "contact.created", "event-0"),
        ("2", "1", "superoffice", "contact.created", "event-1"),
    ] == [(row[0], row[2], row[3], row[4], row[5]) for row in rows]
    assert "--after 2" in first.stderr
    assert [3, 4] == [row["seq"] for row in json.loads(second.stdout)]


def test_export(spooled):
    """Every event whole; what is no text is base64; nothing is removed."""
    during, after = spooled(3, lambda: invoke("spool", "export").stdout)

    found = [json.loads(line) for line in during.splitlines()]
    assert during == after
    assert ["event-0", "event-1", "event-2"] == [event["message_id"] for event in found]
    assert ['{"number":0}', None, '{"number":2}'] == [event["body"] for event in found]
    assert "/w==" == found[1]["body_base64"]
    assert {"entity": "contact", "endpoint": "superoffice", "primary_key": 0} == found[0]["headers"]


def test_more_than_a_page_in_memory(spooled):
    """An export goes on over many pages."""
    during, _ = spooled(1203, lambda: invoke("spool", "export").stdout)

    assert [json.loads(line)["seq"] for line in during.splitlines()] == list(range(1, 1204))


@pytest.mark.parametrize("command", ["status", "list", "export"])
def test_no_spool(directory, monkeypatch, command):
    """Where nothing was spooled, the command says where it looked."""
    monkeypatch.setenv("SUPEROFFICE_SECRET", "x")
    result = invoke("spool", command)

    assert 78 == result.exit_code
    assert "there is no spool at var/spool.db" in result.stderr


def test_large_events_are_not_all_held_in_memory(directory):
    """A look at any number of them holds a few at a time, and leaves none out."""
    path = directory / "spool.db"

    async def fill():
        async with opened(path, max_bytes=1 << 27, lock_wait=0) as spool:
            for number in range(60):
                spool.append(message(number, body=b"x" * 1_000_000), on_written=lambda *_: None)
            await spool.flush()

    asyncio.run(fill())
    tracemalloc.start()
    try:
        found = [row.seq for row in rows(path)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert found == [*range(1, 61)]
    assert peak < 24_000_000
