"""A row of the table: as columns in SQLite, as a ``Row`` with its message in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, final

import orjson

from bridge.core import jsontext
from bridge.core.event import Record, record_of
from bridge.core.message import PARKED_TYPE, Message, body_id, bounded

_ROW_BYTES = 128
"""Approximate size of a row without its texts, body and metadata."""

COLUMNS = "seq, accepted_at, size, tries, exchange, routing_key, message_id, meta, body"
"""Columns of a row, in the order of the table."""

SELECT = f"SELECT {COLUMNS} FROM event"  # noqa: S608  # a constant

SELECT_META = """
SELECT max(seq), CAST(group_concat(CAST(meta AS TEXT), char(0)) AS BLOB)
FROM (SELECT seq, meta FROM event WHERE seq > ? ORDER BY seq LIMIT ?)"""
"""Query that returns the metadata of many rows as one row, for the reason that ``batch`` gives."""


@final
class Row:
    """One spooled event.

    ``seq`` is the order of acceptance, ``accepted_at`` a Unix time in seconds, ``size`` the bytes
    of ``max_bytes`` that it takes, ``tries`` how often it was retried after a nack. When the row is
    damaged, ``unreadable`` says how, and the message is what is left of it.
    """

    __slots__ = ("accepted_at", "message", "seq", "size", "tries", "unreadable")

    def __init__(
        self,
        seq: int,
        accepted_at: float,
        size: int,
        tries: int,
        message: Message,
        unreadable: str = "",
    ) -> None:
        self.seq: Final = seq
        self.accepted_at: Final = accepted_at
        self.size: Final = size
        self.tries: Final = tries
        self.message: Final = message
        self.unreadable: Final = unreadable

    @property
    def endpoint(self) -> str:
        """Return the name of the endpoint that accepted the event."""
        return str(self.message.headers.get("endpoint", "unknown"))


def row_to_store(seq: int, accepted_at: float, tries: int, message: Message) -> tuple[Row, bytes]:
    """Return the row for a message, and its metadata as they are stored."""
    meta = _meta(message)
    size = len(message.body) + len(meta) + len(message.routing_key) + _ROW_BYTES
    return Row(seq, accepted_at, size, tries, message), meta


def _meta(message: Message) -> bytes:
    return orjson.dumps(
        [
            message.content_type,
            message.type,
            message.timestamp,
            message.headers,
            message.record,
        ]
    )


def values(row: Row, meta: bytes) -> tuple[object, ...]:
    """Return the values of a row, in the order of the table.

    Members of an enum become the texts that they are: another process takes only these.
    """
    message = row.message
    return (
        row.seq,
        row.accepted_at,
        row.size,
        row.tries,
        str(message.exchange),
        str(message.routing_key),
        str(message.message_id),
        meta,
        message.body,
    )


def row_of(columns: Sequence[Any]) -> Row:
    """Build a row from what ``SELECT`` returns; a damaged one becomes an unreadable row."""
    try:
        seq, at, size, tries, exchange, key, message_id, meta, body = columns
        parsed = jsontext.read(meta)
        return readable(seq, at, size, tries, exchange, key, message_id, parsed, body)
    except (ValueError, TypeError) as error:
        return _unreadable(*columns, error=str(error))


def record_key(record: Record) -> str:
    """Return the key that ``record_keys`` finds for a record, whatever version stored it."""
    return _end_of(f",{str.lower(orjson.dumps(record).decode())}]")


def record_keys(meta: bytes) -> list[str]:
    """Return the keys of the records in what ``SELECT_META`` found.

    The metadata of a row are JSON and end with its record. So rows with equal records have equal
    ends, and we compare these ends: parsing the JSON would take most of the time. A row that has no
    record, or is damaged, gets a key that no record has.
    """
    return list(map(_end_of, str.lower(meta.decode(errors="replace")).split("\0")))


def _end_of(meta: str) -> str:
    """Return what follows the last ``,[``: the record, unless a text in the record has that too.

    Even then equal records have equal keys.
    """
    return meta[meta.rfind(",[") + 2 :]


def readable(
    seq: int,
    accepted_at: float,
    size: int,
    tries: int,
    exchange: str,
    routing_key: str,
    message_id: str,
    meta: Sequence[Any],
    body: bytes,
) -> Row:
    """Build a row from its columns; ``meta`` is parsed. Raises ValueError or TypeError."""
    content_type, kind, timestamp, headers, record = meta
    message = Message(
        exchange,
        routing_key,
        body,
        content_type,
        message_id,
        kind,
        timestamp,
        headers,
        record_of(*record) if record else None,  # older versions kept the case
    )
    return Row(seq, accepted_at, size, tries, message)


def _unreadable(
    seq: int, accepted_at: Any, size: Any, tries: Any, *columns: Any, error: str
) -> Row:
    """Return what is left of a damaged row, in a form that can be parked."""
    exchange, routing_key, message_id, _, stored = columns
    body = stored if isinstance(stored, bytes) else _text(stored).encode()
    message = Message(
        exchange=_text(exchange),
        routing_key=_text(routing_key),
        body=body,
        content_type="application/octet-stream",
        message_id=_text(message_id) or body_id(body),
        type=PARKED_TYPE,
        timestamp=0,
        headers={"endpoint": "unknown"},
    )
    numbers = (
        value if isinstance(value, float | int) else 0 for value in (accepted_at, size, tries)
    )
    accepted, counted, tried = map(int, numbers)
    return Row(seq, accepted, counted, tried, message, unreadable=error or "damaged")


def _text(value: Any) -> str:
    """Return the text of a column, cut to the length that AMQP can carry."""
    return bounded(value if isinstance(value, str) else "")
