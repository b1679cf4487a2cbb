"""The store itself: rows in, rows out, counted."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import structlog

from bridge.core.message import Message, body_id, bounded
from bridge.spool.errors import SpoolFull
from bridge.spool.files import is_damage, suspicion
from bridge.spool.writer import Append, Delete, NoteTries, Writer

_ROW_BYTES = 128
"""What a row costs beside its texts, about."""

_READ_ROWS = 64
_READ_BYTES = 4 * 1024 * 1024
"""Of bodies: as soon as a read has so many, it ends."""

COLUMNS = "seq, accepted_at, size, tries, exchange, routing_key, message_id, meta, body"
"""Of a row, in the order of the table."""

SELECT = f"SELECT {COLUMNS} FROM event"  # noqa: S608  # a constant

log = structlog.get_logger()

TOTALS = "SELECT exchange, count(*), sum(size), max(seq) FROM event GROUP BY exchange"
"""What is known at a start; the index of the table has all of it."""


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


Stored = Callable[[Row, SpoolFull | None], None]
"""Called on the loop when a row is on disk, or with the reason why the disk did not take it."""


class Spool:
    """The open spool of this process; made by ``bridge.spool.opened``.

    ``events`` and ``bytes`` are counted when something is handed over or deleted. ``exchanges`` are
    the names that the events found at the start need. Once ``damaged`` is set it takes nothing
    more: who uses it should end, for the next start salvages what can be read.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        found = self._reader.execute(TOTALS).fetchall()
        self.exchanges: tuple[str, ...] = tuple(name for name, *_ in found)
        self.events: int = sum(events for _, events, _, _ in found)
        self.bytes: int = sum(size for _, _, size, _ in found)
        self._last_seq: int = max((last for *_, last in found), default=0)
        self._path = path
        self._loop = asyncio.get_running_loop()
        self.damaged = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool-reader")
        self._reading = asyncio.Lock()
        self._deleting: set[int] = set()
        self._deleted: set[int] = set()
        self._writer = Writer(
            path, self._loop, deleted=self._deleted.update, failed=self.note_error
        )

    def __repr__(self) -> str:
        """Show how much waits."""
        return f"<Spool {self.events} events, {self.bytes} bytes>"

    @property
    def accepts(self) -> bool:
        """Return whether there is room for one more like those here, and the disk takes it."""
        size = self.bytes / self.events if self.events else 0
        has_room = self.bytes + size <= self._max_bytes
        return has_room and self._writer.takes and not self.damaged.is_set()

    @property
    def fullness(self) -> float:
        """Return how full the spool is: 0 is empty, 1 is ``max_bytes``."""
        return self.bytes / self._max_bytes

    @property
    def last_seq(self) -> int:
        """Return the number of the latest event that was handed over."""
        return self._last_seq

    def append(self, message: Message, *, stored: Stored, tries: int = 0) -> Row:
        """Hand an event over; it is safe when ``stored`` is called. Raises ``SpoolFull``."""
        if self.damaged.is_set():
            raise SpoolFull("the spool is damaged")
        meta = _meta(message)
        size = len(message.body) + len(meta) + len(message.routing_key) + _ROW_BYTES
        if self.bytes + size > self._max_bytes:
            raise SpoolFull(f"the spool holds {self.bytes} bytes: max_bytes is {self._max_bytes}")
        self._last_seq += 1
        row = Row(self._last_seq, time.time(), size, tries, message)
        self._count(1, size)
        self._writer.put(Append(_values(row, meta), partial(self._note_stored, row, stored)))
        return row

    def delete(self, row: Row) -> None:
        """Delete an event that somebody else is now responsible for; retried until it is done."""
        self._count(-1, -row.size)
        self._deleting.add(row.seq)
        self._writer.put(Delete(row.seq))

    def note_tries(self, row: Row, tries: int) -> None:
        """Remember across restarts how often an event was refused."""
        self._writer.put(NoteTries(row.seq, tries))

    def compact(self) -> None:
        """Give the space of deleted events back to the file system."""
        self._writer.call("compact")

    async def read(self, *, after: int, limit: int) -> list[Row]:
        """Return the next events in the order of acceptance.

        One whose deletion is under way, or owed by a full disk, is passed over.
        """
        query = f"{SELECT} WHERE seq > ? ORDER BY seq LIMIT ?"
        while found := await self._select(query, after, limit):
            rows = [row for row in found if row.seq not in self._deleting]
            if rows:
                return rows
            after = found[-1].seq
        return []

    async def get(self, seq: int) -> Row | None:
        """Return one event, None when it is gone."""
        found = await self.get_all([seq])
        return found[0] if found else None

    async def get_all(self, seqs: Sequence[int]) -> list[Row]:
        """Return these events in the order of acceptance, without those that are gone."""
        query = f"{SELECT} WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"  # noqa: S608
        return await self._select(query, orjson.dumps(seqs).decode())

    async def oldest_seconds(self) -> float:
        """Return the age of the oldest event, 0 when there is none."""
        found = await self.read(after=0, limit=1) if self.events else []
        return max(0.0, time.time() - found[0].accepted_at) if found else 0.0

    async def flush(self) -> None:
        """Return when everything handed over so far is on disk."""
        await self._writer.call("flush")

    def note_error(self, error: sqlite3.Error) -> None:
        """Remember an error that means damage, here and for the next start; from any thread."""
        if not is_damage(error) or self.damaged.is_set():
            return
        log.error("spool_damaged", error=str(error))
        with suppress(OSError):
            suspicion(self._path).touch()
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self.damaged.set)

    def close(self) -> None:
        """Write what is left and close the files."""
        self._writer.close()
        self._thread.shutdown()
        self._reader.close()

    def _note_stored(self, row: Row, stored: Stored, refusal: SpoolFull | None) -> None:
        if refusal is not None:
            self._count(-1, -row.size)
        stored(row, refusal)

    def _count(self, events: int, size: int) -> None:
        self.events += events
        self.bytes += size

    async def _select(self, sql: str, *parameters: int | str) -> list[Row]:
        loop = asyncio.get_running_loop()
        async with self._reading:
            self._deleting -= self._deleted  # what goes while we look can still be in the answer
            self._deleted.clear()
            try:
                found = await loop.run_in_executor(
                    self._thread, _fetch, self._reader, sql, parameters
                )
            except sqlite3.Error as error:
                self.note_error(error)
                raise
        return [row_of(columns) for columns in found]


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


def _values(row: Row, meta: bytes) -> tuple[object, ...]:
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


def _fetch(reader: sqlite3.Connection, sql: str, parameters: tuple[int | str, ...]) -> list[Any]:
    """Return what a query finds, or only the start of it when the bodies are large."""
    cursor, found, size = reader.execute(sql, parameters), [], 0
    while size < _READ_BYTES and (page := cursor.fetchmany(_READ_ROWS)):
        found += page
        size += sum(len(columns[-1] or b"") for columns in page)
    return found


def row_of(columns: Sequence[Any]) -> Row:
    """Build a row from what ``SELECT`` returns; one that is no event any more is unreadable."""
    try:
        return _readable(columns)
    except (ValueError, TypeError) as error:
        return _unreadable(*columns, error=str(error))


def _readable(columns: Sequence[Any]) -> Row:
    seq, accepted_at, size, tries, exchange, routing_key, message_id, meta, body = columns
    content_type, kind, timestamp, headers, record = orjson.loads(meta)
    message = Message(
        exchange=exchange,
        routing_key=routing_key,
        body=body,
        content_type=content_type,
        message_id=message_id,
        type=kind,
        timestamp=timestamp,
        headers=headers,
        record=tuple(record) if record else None,
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
        type="com.superoffice.parked",
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
