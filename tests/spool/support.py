"""What several tests of the spool need."""

import asyncio
import sqlite3

import pytest

from bridge.spool import SpoolFull
from tests.helpers import message


def stored(row, refusal):
    """Take note that a row is on disk."""
    assert refusal is None, row


async def is_damaged(spool):
    """Wait until the spool knows that it is damaged; then it takes nothing more."""
    async with asyncio.timeout(10):
        await spool.damaged.wait()
    assert not spool.accepts
    with pytest.raises(SpoolFull, match="damaged"):
        spool.append(message(), on_written=stored)


def database_error(code):
    """Return what SQLite raises for one of its codes."""
    error = sqlite3.OperationalError("of a code")
    error.sqlite_errorcode = code
    return error


def raises(error):
    """Return a function that raises an error."""

    def fail(*arguments):
        raise error

    return fail


async def all_rows(spool):
    """Read all rows, however many reads that takes."""
    found, after = [], 0
    while rows := await spool.read(after=after, limit=1000):
        found += rows
        after = rows[-1].seq
    return found
