"""A row of the table, in memory and as it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from bridge.core import jsontext
from bridge.core.event import Record, record_of
from bridge.core.message import PARKED_TYPE, Message, body_id, bounded

_ROW_BYTES = 128
"""What a row costs beside its texts, about."""

COLUMNS = "seq, accepted_at, size, tries, exchange, routing_key, message_id, meta, body"
"""Of a row, in the order of the table."""

SELECT = f"SELECT {COLUMNS} FROM event"  # noqa: S608  # a constant

SELECT_META = """
SELECT max(seq), CAST(group_concat(CAST(meta AS TEXT), char(0)) AS BLOB)
FROM (SELECT seq, meta FROM event WHERE seq > ? ORDER BY seq LIMIT ?)"""
"""One row with the metadata of many: a step of SQLite lets go of the interpreter only once."""


class Row(NamedTuple):
    """One spooled event.

    ``seq`` is the order of acceptance, ``accepted_at`` Unix time in seconds, ``size`` the bytes
    that it counts against ``max_bytes``, ``tries`` how often it was retried after a refusal. When
    the row is damaged, ``unreadable`` says how, and the message is what is left of it.
    """

    seq: int
    accepted_at: float
    size: int
    tries: int
    message: Message
    unreadable: str = ""

    @property
    def endpoint(self) -> str:
        """Return the name of the endpoint that accepted the event."""
        return str(self.message.headers.get("endpoint", "unknown"))


def row_to_store(seq: int, accepted_at: float, tries: int, message: Message) -> tuple[Row, bytes]:
    """Return a row and its metadata as they are stored."""
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
    """Return the values of a row, in the order of the table."""
    message = row.message
    return (
        row.seq,
        row.accepted_at,
        row.size,
        row.tries,
        message.exchange,
        message.routing_key,
        message.message_id,
        meta,
        message.body,
    )


def row_of(columns: Sequence[Any]) -> Row:
    """Build a row from what ``SELECT`` returns; one that is no event any more is unreadable."""
    try:
        return _readable(columns)
    except (ValueError, TypeError) as error:
        return _unreadable(*columns, error=str(error))


def record_key(record: Record) -> str:
    """Return what ``record_keys`` finds of this record in a row, whichever version stored it."""
    return _end_of(f",{orjson.dumps(record).decode().lower()}]")


def record_keys(meta: bytes) -> list[str]:
    """Return the keys of the records in what ``SELECT_META`` found.

    To read the JSON of each would take most of the time, and is not needed: of two rows with equal
    records the ends are equal. A row without a record, or damaged, has a key of no record.
    """
    return list(map(_end_of, meta.decode(errors="replace").lower().split("\0")))


def _end_of(meta: str) -> str:
    """Return what follows the last bracket: the record, as long as no text in it has one."""
    return meta[meta.rfind(",[") + 2 :]


def _readable(columns: Sequence[Any]) -> Row:
    seq, accepted_at, size, tries, exchange, routing_key, message_id, meta, body = columns
    content_type, kind, timestamp, headers, record = jsontext.read(meta)
    message = Message(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        content_type=content_type,
        message_id=message_id,
        type=kind,
        timestamp=timestamp,
        headers=headers,
        record=record_of(*record) if record else None,  # older versions kept the case
    )
    return Row(seq, accepted_at, size, tries, message)


def _unreadable(
    seq: int, accepted_at: Any, size: Any, tries: Any, *columns: Any, error: str
) -> Row:
    """Return what is left of a row, in a form that can be parked."""
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
    """Return a column's text, cut to what AMQP can carry."""
    return bounded(value if isinstance(value, str) else "")
