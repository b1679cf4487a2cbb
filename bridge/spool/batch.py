"""Many rows that SQLite returns as one.

For each row that SQLite returns, its thread waits for the interpreter again, which the event loop
holds most of the time. So one large row is much faster than many small ones. Each of its columns
has the values of all rows, one after the other. Where these cannot be told apart, because a row is
damaged or a text has a zero in it, ``rows_of`` says so, and the rows are read one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.core import jsontext
from bridge.spool.rowcodec import Row, readable

LARGE_BYTES = 16 * 1024
"""Maximum size of a body in a batch: larger ones are read one by one, until a read is too large."""

SELECT_BATCH = f"""
SELECT
    count(*),
    CAST(group_concat(seq) AS BLOB),
    CAST(group_concat(CAST(accepted_at AS INTEGER)) AS BLOB),
    CAST(group_concat(size) AS BLOB),
    CAST(group_concat(tries) AS BLOB),
    CAST(group_concat(exchange, char(0)) AS BLOB),
    CAST(group_concat(routing_key, char(0)) AS BLOB),
    CAST(group_concat(message_id, char(0)) AS BLOB),
    CAST(group_concat(CAST(meta AS TEXT)) AS BLOB),
    CAST(group_concat(length(body)) AS BLOB),
    CAST(group_concat(
        CASE WHEN length(body) <= {LARGE_BYTES} THEN CAST(body AS TEXT) END, ''
    ) AS BLOB)
FROM """  # noqa: S608  # constants
"""Query for a batch; what follows is the query for its rows, in parentheses."""


def rows_of(columns: Sequence[Any]) -> list[Row] | None:
    """Return the rows of a batch, or None if they have to be read one by one.

    Their ``accepted_at`` has whole seconds.
    """
    count, seqs, accepted, sizes, tries, exchanges, keys, ids, metas, lengths, bodies = columns
    if not count:
        return []
    try:
        rows, end = [], 0
        for seq, at, size, tried, exchange, key, message_id, meta, length in zip(
            _numbers(seqs),
            _numbers(accepted),
            _numbers(sizes),
            _numbers(tries),
            _texts(exchanges),
            _texts(keys),
            _texts(ids),
            jsontext.read(b"[%b]" % metas),
            _numbers(lengths),
            strict=True,
        ):
            start, end = end, end + length
            body = bodies[start:end]
            rows.append(readable(seq, at, size, tried, exchange, key, message_id, meta, body))
    except (ValueError, TypeError, AttributeError):
        return None
    return rows if len(rows) == count and end == len(bodies) else None


def _numbers(column: bytes) -> list[int]:
    numbers: list[int] = jsontext.read(b"[%b]" % column)  # much faster than ``int`` for each
    return numbers


def _texts(column: bytes) -> list[str]:
    return column.decode().split("\0")
