"""The plain path of a connection: a request in which nothing is odd is answered without aiohttp.

A plain request (``heads``) is handed to the responder in the very call that brought its last byte,
and its reply is written from wherever its outcome is known: no parser, no task, no future.

    at rest    --> answering    a whole request came
    at rest    --> gathering    a head came, and not all of its body
    gathering  --> answering    the body is whole
    gathering  --> at rest      it takes long, or the client has gone: aiohttp gets all the bytes
    answering  --> at rest      the reply is known; what came behind the request is read then
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import structlog
from aiohttp import web

from bridge.web.heads import Head, Heads
from bridge.web.replies import Reply
from bridge.web.responder import Responder

if TYPE_CHECKING:
    from bridge.web.connection import Connection

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plain:
    """What recognizes the plain requests of a listener, and what answers them."""

    heads: Heads
    responder: Responder


@final
class PlainPath:
    """One connection. ``missing`` is how many bytes of a body it waits for, ``since`` since when.

    That is a time of the loop.
    """

    __slots__ = (
        "_awaits_reply",
        "_behind",
        "_connection",
        "_head",
        "_heads",
        "_pieces",
        "_responder",
        "missing",
        "since",
    )

    def __init__(self, connection: Connection, plain: Plain) -> None:
        self._connection = connection
        self._heads = plain.heads
        self._responder = plain.responder
        self._head: Head | None = None
        """The head of a request whose body is not whole."""
        self._pieces: list[bytes] = []
        """What has come of that request."""
        self.missing = 0
        self.since = 0.0
        self._behind = b""
        """What has come behind the request that is being answered."""
        self._awaits_reply = False
        """Whether the responder has been asked, and has not told the reply."""

    @property
    def owes(self) -> bool:
        """Return whether its request lacks some of the body, or has others behind it already."""
        return self.missing > 0 or bool(self._behind)

    # What comes in

    def take(self, data: bytes) -> bool:
        """Take what came to a connection at rest; return whether it is a plain request.

        Of a stranger only a whole one is: whoever may send a body later has earned a 200.
        """
        head = self._heads.read(data)
        if head is None:
            return False
        missing = head.start + head.length - len(data)
        if missing < 0 or (missing and not self._connection.earned_200):
            return False
        self._connection.begin_plain()
        if missing:
            self._gather(head, data, missing)
        else:
            self._respond(head, [data])
        return True

    def _gather(self, head: Head, data: bytes, missing: int) -> None:
        self._head, self._pieces, self.missing = head, [data], missing
        self.since = self._connection.server.loop.time()
        if head.expects:
            self._connection.write(_CONTINUE)

    def more(self, data: bytes) -> None:
        """Take what came while a request is at hand: of its body, or behind it."""
        if len(data) < self.missing:
            self._pieces.append(data)
            self.missing -= len(data)
            return
        head, rest = self._head, data[: self.missing]
        self._behind += data[len(rest) :]
        if self._behind:
            self._connection.read_no_more()
        if head is not None:
            pieces = [*self._pieces, rest]
            self._forget()
            self._respond(head, pieces)

    def _respond(self, head: Head, pieces: list[bytes]) -> None:
        self._awaits_reply = True
        try:
            body = b"".join(pieces)[head.start :]
            self._responder.respond_to(head, body, self._connection, self._tell)
        except Exception as error:  # memory: nobody else would tell it
            self._tell(error)

    def _forget(self) -> None:
        self._head, self._pieces, self.missing = None, [], 0

    # What goes out

    def _tell(self, reply: Reply | Exception) -> None:
        if not self._awaits_reply:  # one reply is out, whatever failed behind it
            return
        self._awaits_reply = False
        connection = self._connection
        try:
            if connection.answer(reply) and self._behind:
                # Not now: this may be a call from the midst of what settles other messages.
                connection.server.loop.call_soon(self._read_behind)
                return
        except Exception as error:  # memory: the client tries again
            self._cut(error)
        connection.end_plain()

    def _read_behind(self) -> None:
        connection, behind, self._behind = self._connection, self._behind, b""
        connection.end_plain()
        try:
            if connection.may_read_on():
                connection.read_on()
            connection.data_received(behind)
        except Exception as error:
            self._cut(error)
        # Since the answer the service may have begun to stop.
        if connection.is_idle and (connection.said_all or connection.server.is_stopping):
            connection.close()

    # When it is not to be

    def hand_over(self) -> None:
        """Leave to aiohttp a request whose body is not whole."""
        connection, pieces = self._connection, self._pieces
        self._forget()
        connection.end_plain()
        try:
            connection.waited = connection.server.loop.time() - self.since
            connection.parse(b"".join(pieces))
        except Exception as error:
            self._cut(error)

    def _cut(self, error: Exception) -> None:
        """Cut the connection: the rest of a body that failed must not be read as a request."""
        self._connection.abort()
        log.error("request_failed", exc_info=error)

    def end(self) -> None:
        """Take note that the connection is lost. A whole request is accepted all the same."""
        self._behind = b""
        if self.missing:
            self.hand_over()
            for _, body in self._connection.queue:
                body.set_exception(web.RequestPayloadError("the client hung up"))
        elif not self._awaits_reply:  # an error has left it at hand: it must not keep its place
            self._connection.end_plain()
