"""The intake of a connection: what its client has sent, and how much of it is parsed when.

A few kilobytes can be hundreds of heads or chunks. So what a stranger sends is parsed in pieces, at
turns that it shares with all other strangers (``turns``). A client that has earned a 200 is parsed
at once, and passes by here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiohttp import web

from bridge.web.turns import LONGEST_SECONDS, PIECE_BYTES, Turns

if TYPE_CHECKING:
    from bridge.web.connection import Connection

MAX_HEADERS = 64
"""Maximum number of headers in a request: half of what aiohttp allows."""

MAX_HEAD_BYTES = 32 * 1024
"""Maximum size of a stranger's whole head; aiohttp limits only its lines."""

_DENSE_BYTES = 128
"""Size of a piece of very many lines, each of which may be a head or a chunk."""


class Intake:
    """What one client has sent. It waits for a turn, or everything of it is parsed."""

    __slots__ = ("_connection", "_head_bytes", "_turns", "spent", "unparsed", "waits")

    def __init__(self, connection: Connection, turns: Turns) -> None:
        self._connection: Connection | None = connection
        self._turns = turns
        self._head_bytes = 0
        """How much of the present head is parsed."""
        self.unparsed = b""
        """What was read, but not parsed yet."""
        self.waits = False
        """Whether it has a later turn to come."""
        self.spent = 0.0
        """How many seconds parsing has taken."""

    def receive(self, connection: Connection, data: bytes) -> None:
        """Parse what came at once if there is room at this turn, else at a later one."""
        if not self.unparsed and len(data) <= _piece_of(data) and self._turns.reserve(len(data)):
            self._take(connection, data)
            if connection.is_secure:  # what TLS has decrypted already would come at once
                self._wait_for_turn(connection)
        else:
            self.unparsed += data
            self._wait_for_turn(connection)

    def feed(self) -> int:
        """Parse the next piece, or read on; return what that costs, 0 if nothing was done."""
        self.waits = False
        connection = self._connection
        if connection is None or connection.is_closed:
            self.unparsed = b""
            return 0
        if connection.is_held:  # ``may_read_on`` asks for another turn as soon as it goes on
            return 0
        if not self.unparsed:
            connection.read_on()
            return PIECE_BYTES  # to read TLS may decrypt as much as a whole turn may cost
        return self._feed_piece(connection)

    def _feed_piece(self, connection: Connection) -> int:
        size = _piece_of(self.unparsed)
        piece, self.unparsed = self.unparsed[:size], self.unparsed[size:]
        self._parse(connection, piece)
        if self.unparsed or connection.is_secure:
            self._wait_for_turn(connection)
        elif not connection.is_held:
            connection.read_on()
        return len(piece)

    def may_read_on(self, connection: Connection) -> bool:
        """Return whether more may be read: what was read already has its turn first."""
        if self.unparsed:
            self._wait_for_turn(connection)
        return not self.waits

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        self.unparsed = b""
        if self._connection is not None:
            self._connection.abort()

    def end(self) -> None:
        """Let go of everything: the connection is gone."""
        self.unparsed, self.waits = b"", False
        # Else the two would keep each other alive until the garbage collector comes.
        self._connection = None

    def _wait_for_turn(self, connection: Connection) -> None:
        """Neither parse nor read anything until the next turn."""
        if not self.waits:
            self.waits = True
            connection.read_no_more()
            self._turns.wait(self)

    def _take(self, connection: Connection, data: bytes) -> None:
        begun = time.perf_counter()
        is_taken = connection.takes(data)
        self.spent += min(time.perf_counter() - begun, LONGEST_SECONDS)
        if not is_taken:
            self._parse(connection, data)

    def _parse(self, connection: Connection, data: bytes) -> None:
        body, begun = connection.incoming, time.perf_counter()
        size = 0 if body is None else body.total_bytes
        connection.parse(data)
        self.spent += min(time.perf_counter() - begun, LONGEST_SECONDS)
        self._note_head(connection, len(data))
        # A body says how much of the data was content only if aiohttp has read all of the data.
        if body is None or body.is_eof() or connection.is_body_paused or len(data) < _DENSE_BYTES:
            return
        if 2 * (body.total_bytes - size) < len(data):
            self.unparsed = b""
            body.set_exception(web.RequestPayloadError("chunks of a few bytes"))

    def _note_head(self, connection: Connection, size: int) -> None:
        """Count what is parsed of a head that has no end yet, and reject one that is too large."""
        self._head_bytes = self._head_bytes + size if connection.awaits_head else 0
        if self._head_bytes > MAX_HEAD_BYTES:
            connection.reject_head()


def _piece_of(data: bytes) -> int:
    """Return how many bytes of it to parse at a turn."""
    return _DENSE_BYTES if data.count(b"\r\n", 0, PIECE_BYTES) > MAX_HEADERS else PIECE_BYTES
