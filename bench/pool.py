"""Signed webhooks in a file, made before anything is measured.

Every event has an EventId and a primary key of its own. The ids end in their place in the pool, in
twelve hexadecimal digits, so that a consumer can count each of them at little cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.dev.samples import encode, request_headers, sample
from tests.system.faults.webhooks import SECRET

EVENT = "contact.created"
ID_PREFIX = "5f3a6c1e-8d24-4b7a-9c60-"
FIRST_KEY = 1_000_000_000
COLUMNS = 200
"""Of a large body: as many as the widest tables have."""

_COLUMN_OVERHEAD = len('"x_column_000":"",')
NOW = datetime(2026, 3, 2, 9, 15, 27, 123456, tzinfo=UTC)
"""One moment for all: two runs send the same bytes."""


def event_id(number: int) -> str:
    """Return the EventId of the event at a place of the pool."""
    return f"{ID_PREFIX}{number:012x}"


class Bodies:
    """Makes bodies that differ in EventId and PrimaryKey only."""

    def __init__(self, *, size: int = 0) -> None:
        """Add columns of text until the body has about ``size`` bytes."""
        event = sample(EVENT, primary_key=FIRST_KEY, event_id=event_id(0), now=NOW)
        text = "." * ((size - len(encode(event))) // COLUMNS - _COLUMN_OVERHEAD)
        columns = {f"x_column_{number:03}": text for number in range(COLUMNS if text else 0)}
        event["FieldValues"] = {**event["FieldValues"], **columns}
        self._template = encode(event)

    def __call__(self, number: int) -> bytes:
        """Return the body at a place of the pool."""
        body = self._template.replace(event_id(0).encode(), event_id(number).encode(), 1)
        return body.replace(b"%d" % FIRST_KEY, b"%d" % (FIRST_KEY + number), 1)


@dataclass(frozen=True)
class Pool:
    """A file of requests, each after its length in eight digits."""

    path: Path
    events: int
    bodies: Bodies

    @property
    def body_bytes(self) -> int:
        """Return the size of a body."""
        return len(self.bodies(0))

    def request(self, number: int) -> bytes:
        """Return the request at a place of the pool."""
        return request(self.bodies(number), event_id(number))


def write(path: Path, events: int, *, size: int = 0) -> Pool:
    """Make a pool; the bytes are those that SuperOffice would send."""
    pool = Pool(path, events, Bodies(size=size))
    with path.open("wb") as file:
        for number in range(events):
            data = pool.request(number)
            file.write(b"%08d" % len(data) + data)
    return pool


def read(path: Path) -> list[bytes]:
    """Return the requests of a pool's file."""
    found = []
    with path.open("rb") as file:
        while length := file.read(8):
            found.append(file.read(int(length)))
    return found


def request(body: bytes, event_id: str) -> bytes:
    """Return a whole request."""
    headers = {
        "Host": "127.0.0.1",
        **request_headers(body, event=EVENT, event_id=event_id, secret=SECRET),
        "Content-Length": str(len(body)),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /webhook HTTP/1.1\r\n{head}\r\n".encode() + body
