"""The table of events, and the version of it that is kept in the file."""

from __future__ import annotations

import sqlite3

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

VERSION = 1
"""Of the table, kept as ``user_version``."""


def version_of(database: sqlite3.Connection) -> int:
    """Return the version that a database has, 0 for a new one."""
    [(version,)] = database.execute("PRAGMA user_version")
    return int(version)


def complete(database: sqlite3.Connection) -> None:
    """Make what is missing. Where nothing is, nothing is written: the disk may be full."""
    database.executescript(_TABLE)
    if version_of(database) != VERSION:
        database.execute(f"PRAGMA user_version = {VERSION}")
