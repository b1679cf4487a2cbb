"""Many rows that are read as one are the rows that are there."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from bridge.core.message import MAX_HEADER_BYTES
from bridge.spool import reader
from bridge.spool.batch import LARGE_BYTES, SELECT_BATCH, rows_of
from bridge.spool.rowcodec import SELECT, row_of
from tests.helpers import message
from tests.spool.support import all_rows, stored

ODD: dict[str, list[dict[str, Any]]] = {
    "zeros in bodies": [{"body": b"\0a\0"}, {"body": b"\xff\0\xfe"}],
    "an empty body": [{"body": b""}, {"body": b"x"}],
    "quotation marks": [{"routing_key": 'a"b\\,', "headers": {"a": '",["\\'}}],
    "a zero in a text": [{"routing_key": "a\0b"}, {"routing_key": "c"}],
    "not ASCII": [{"message_id": "å\u2028ø", "body": "æ".encode()}],
    "no record": [{"record": None}, {"record": ("superoffice", None, "sale", "a,b\0")}],
    "an empty text": [{"exchange": "", "routing_key": ""}, {"exchange": "crm"}],
    "long headers": [{"headers": {"a": "b" * MAX_HEADER_BYTES, "n": 2**53 + 1}}],
    "a large body": [{"body": b"x"}, {"body": b"y" * (LARGE_BYTES + 1)}, {"body": b"z"}],
}
"""Messages, by what is odd about them."""


def columns_of(row):
    """Return what a row says, its time in whole seconds."""
    return row.seq, int(row.accepted_at), row.size, row.tries, row.message, row.unreadable


@pytest.mark.parametrize("odd", ODD)
async def test_read_as_one_or_one_by_one(spool, odd):
    """The messages that come back are those that were handed over, whatever is in them."""
    given = [message(number, **fields) for number, fields in enumerate(ODD[odd])]
    async with spool() as used:
        for each in given:
            used.append(each, on_written=stored, tries=len(given))
        await used.flush()
        rows = await all_rows(used)
        again = await used.get_all([row.seq for row in rows])

    assert given == [row.message for row in rows]
    assert [(seq, len(given)) for seq in range(1, len(given) + 1)] == [
        (row.seq, row.tries) for row in rows
    ]
    assert list(map(columns_of, rows)) == list(map(columns_of, again))


def test_what_a_batch_says_is_what_the_rows_say(path):
    """Each column of each row is the same, but for the fraction of a second in its time."""
    rows = "WHERE seq > 7 ORDER BY seq LIMIT 256"
    with closing(sqlite3.connect(path)) as database:
        [columns] = database.execute(f"{SELECT_BATCH} ({SELECT} {rows})")
        expected = [row_of(each) for each in database.execute(f"{SELECT} {rows}")]
    found = rows_of(columns)

    assert 256 == len(expected)
    assert found is not None
    assert list(map(columns_of, expected)) == list(map(columns_of, found))


@pytest.mark.parametrize(
    "damage",
    ["meta = x'00'", "meta = x''", "meta = x'5b315d2c5b325d'", "exchange = NULL", "size = 'a'"],
)
async def test_a_damaged_row_harms_no_other(spool, tmp_path, damage):
    """It is read as what is left of it, and the rows around it as they are."""
    path = tmp_path / "spool.db"
    async with spool() as used:
        for number in (1, 2, 3):
            used.append(message(number), on_written=stored)
        await used.flush()
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA writable_schema = ON")
            database.execute("UPDATE sqlite_schema SET sql = replace(sql, 'NOT NULL', '')")
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute(f"UPDATE event SET {damage} WHERE seq = 2")  # noqa: S608  # ours
        first, damaged, last = await used.read(after=0, limit=256)

    assert (message(1), message(3)) == (first.message, last.message)
    assert message(2).body == damaged.message.body


async def test_a_read_of_large_bodies_ends_early(spool, monkeypatch):
    """Not more is in memory than the limit and one more body."""
    monkeypatch.setattr(reader, "_READ_ROWS", 1)
    monkeypatch.setattr(reader, "_READ_BYTES", 3 * LARGE_BYTES)
    async with spool() as used:
        for number in range(5):
            used.append(message(number, body=b"x" * (LARGE_BYTES + 1)), on_written=stored)
        await used.flush()
        found = await used.read(after=0, limit=256)

    assert [1, 2, 3] == [row.seq for row in found]
