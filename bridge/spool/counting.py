"""What a start must know of the rows on the disk: how many, how large, and for which exchanges.

The sizes of a million rows take half a second to add up. So those of a large file are estimated at
a start, and added up while the spool is in use.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

TOTALS = "SELECT exchange, count(*), sum(size), max(seq) FROM event GROUP BY exchange"
"""Query for all there is to know; the table's index alone answers it."""

_MEAN = """
SELECT coalesce(avg(size), 0) FROM (SELECT size FROM event INDEXED BY event_totals LIMIT ?)"""

BYTES = "SELECT coalesce(sum(size), 0) FROM event"
"""Query for the sizes alone."""

_EXCHANGES = """
WITH RECURSIVE name (it) AS (
    SELECT min(exchange) FROM event
    UNION ALL
    SELECT (SELECT min(exchange) FROM event WHERE exchange > it) FROM name WHERE it NOTNULL
) SELECT it FROM name WHERE it NOTNULL"""
"""Query that looks up each exchange in the index, where DISTINCT would read all of it."""


_SAMPLE_ROWS = 1000
"""Number of rows whose mean size an estimate goes by."""


class Count(NamedTuple):
    """The rows of a spool. Unless it ``is_exact``, its ``bytes`` are estimated."""

    exchanges: tuple[str, ...]
    events: int
    bytes: int
    last_seq: int
    is_exact: bool = True


def exact(database: sqlite3.Connection) -> Count:
    """Count everything; raises ``sqlite3.Error``."""
    found = database.execute(TOTALS).fetchall()
    return Count(
        exchanges=tuple(name for name, *_ in found),
        events=sum(events for _, events, _, _ in found),
        bytes=sum(size for _, _, size, _ in found),
        last_seq=max((last for *_, last in found), default=0),
    )


def quick(database: sqlite3.Connection) -> Count:
    """Count the rows and estimate their size; raises ``sqlite3.Error``."""
    exchanges = tuple(name for (name,) in database.execute(_EXCHANGES))
    [(events,)] = database.execute("SELECT count(*) FROM event")
    [(last_seq,)] = database.execute("SELECT coalesce(max(seq), 0) FROM event")
    [(mean,)] = database.execute(_MEAN, (_SAMPLE_ROWS,))
    return Count(exchanges, events, int(events * mean), last_seq, is_exact=False)


def snapshot(database: sqlite3.Connection) -> None:
    """Let what is read from now on be as it is now; raises ``sqlite3.Error``."""
    database.execute("BEGIN")
    database.execute("SELECT 1 FROM event LIMIT 1").fetchall()  # BEGIN alone reads nothing


def bytes_of(database: sqlite3.Connection) -> int:
    """Return the size of all rows of the snapshot, and end it; raises ``sqlite3.Error``."""
    [(size,)] = database.execute(BYTES)
    database.execute("COMMIT")
    return int(size)
