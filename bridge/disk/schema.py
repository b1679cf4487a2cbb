"""The table of events, and its version, which is kept in the file."""

from __future__ import annotations

import sqlite3
from contextlib import suppress

_TABLE = """
CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY,   -- the order of acceptance
    accepted_at REAL NOT NULL, -- Unix time, seconds
    size INTEGER NOT NULL,     -- bytes that it counts against max_bytes
    tries INTEGER NOT NULL,    -- how often it was retried after a refusal
    exchange TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    message_id TEXT NOT NULL,
    meta BLOB NOT NULL,        -- JSON: the other properties, and the record
    body BLOB NOT NULL
);
-- All that is counted at a start: reading every row for it would take minutes when many wait.
CREATE INDEX IF NOT EXISTS event_totals ON event (exchange, seq, size)"""

INDEX = "event_totals"

VERSION = 1
"""Version of the table, kept as ``user_version``."""

SHRINKS = "PRAGMA auto_vacuum = INCREMENTAL"
"""Statement for an empty database. It lets us give free pages back to the disk step by step."""


def version_of(database: sqlite3.Connection) -> int:
    """Return the version of a database's table, 0 for a new database."""
    [(version,)] = database.execute("PRAGMA user_version")
    return int(version)


_COLUMNS = (
    ("seq", "INTEGER"),
    ("accepted_at", "REAL"),
    ("size", "INTEGER"),
    ("tries", "INTEGER"),
    ("exchange", "TEXT"),
    ("routing_key", "TEXT"),
    ("message_id", "TEXT"),
    ("meta", "BLOB"),
    ("body", "BLOB"),
)


def let_it_shrink(database: sqlite3.Connection) -> None:
    """Let free pages of an old database be given back; only for a database without events."""
    [(mode,)] = database.execute("PRAGMA auto_vacuum")
    if not mode:
        with suppress(sqlite3.Error):  # the disk is full, and the database will do as it is
            database.execute(SHRINKS)
            database.execute("VACUUM")


def foreign(database: sqlite3.Connection) -> str | None:
    """Return what makes a database no spool, in words; None for a spool, or an empty file.

    Without this check we would notice other columns only when we store the first event.
    """
    found = database.execute("SELECT name, type FROM pragma_table_info('event')").fetchall()
    if found:
        return None if tuple(found) == _COLUMNS else "its table has other columns"
    others = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return f"it has a table {others[0][0]!r}" if others else None


def complete(database: sqlite3.Connection) -> None:
    """Create what is missing. If nothing is, nothing is written: the disk may be full."""
    database.executescript(_TABLE)
    if version_of(database) != VERSION:
        database.execute(f"PRAGMA user_version = {VERSION}")
