"""What clients may hold of a listener: connections, time for a request's head, size of a head.

aiohttp waits for ever for a head that never ends, and takes any number of connections. Here one
look per second at all connections closes those that take too long: a request costs no timer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.streams import StreamReader

from bridge.web.answers import SERVER_REJECTIONS
from bridge.web.responses import rejection_bytes
from bridge.web.turns import LONGEST_SECONDS, PIECE_BYTES, Turns

MAX_LINE_BYTES = 8190
MAX_FIELD_BYTES = 8190
MAX_HEADERS = 64
"""Of a head; aiohttp's own limits for lines and fields, and half of its number of headers."""

MAX_HEAD_BYTES = 32 * 1024
"""Maximum size of a whole head, of a client that has earned nothing."""

_LOOK_SECONDS = 1.0

_DENSE_BYTES = 128
"""How much of it is parsed at a time when it is in very many lines."""

_ARRIVAL_SECONDS = 0.5
"""How long the first bytes of a request may be on their way until who says nothing goes first."""

_GOODBYE_SECONDS = 1.0
"""For a connection that was closed to be gone: what was answered is to arrive, and TLS waits for
the client's own goodbye, which a client that is busy or gone never says."""

log = structlog.get_logger()


_BUSY = rejection_bytes(SERVER_REJECTIONS["connections_refused"])
_MALFORMED = rejection_bytes(SERVER_REJECTIONS["request_malformed"])


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one listener: how many ``connections`` at a time, and times in seconds.

    ``head`` is for the head of a request, from its first byte, or from the connect for the first
    one; ``idle`` is how long a connection may rest between two requests.
    """

    connections: int
    head: float
    idle: float


class LimitedServer(web.Server):
    """A server whose connections, ``LimitedProtocol`` each, keep to the limits."""

    def __init__(self, handler: Any, *, limits: Limits) -> None:
        super().__init__(handler)
        self.limits = limits
        self.is_stopping = False
        self._refused = 0
        self._unfinished = 0
        self._given_up: list[LimitedProtocol] = []
        """Who was told to close since the latest look, with what was still to be written."""
        self._look: asyncio.TimerHandle | None = None
        self.leaving: set[LimitedProtocol] = set()
        """Connections that give no more answers, until they are gone."""
        self.turns = Turns(self._loop)
        """Of clients that have earned nothing."""

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection; if there are too many, in place of one that deserves its own least.

        Only if every other one has a whole request under way the new one is refused.
        """
        super().connection_made(handler, transport)
        if self.is_stopping:  # its TLS handshake took until now
            handler.force_close()
            transport.abort()
            return
        if self._is_full() and not self.gives_way(handler):
            self._refused += 1
            transport.write(_BUSY)
            handler.force_close()
        self._look_soon()

    def _is_full(self) -> bool:
        """Return whether there are too many connections beside those that are being closed."""
        return self.number_open > self.limits.connections

    @property
    def number_open(self) -> int:
        """Return how many connections there are that nobody has told to close."""
        return len(self._connections) - len(self.leaving)

    def note_unfinished(self) -> None:
        """Count a connection that ended, or gave way, before the first byte of a request."""
        self._unfinished += 1
        self._look_soon()

    def pre_shutdown(self) -> None:
        """Close who waits for a request. The others answer the one they have, and then close.

        aiohttp's own closes all, and then drops what is still to come of a request's body.
        """
        self.is_stopping = True
        for one in self._protocols():
            if one.is_idle:
                one.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # aiohttp's
        """Let requests end within so many seconds, cut off the others, and end every connection.

        aiohttp's own takes up to twice as long, or for ever if it is told 0, and leaves connections
        behind that TLS holds on to.
        """
        connections = [(one, self._connections[one]) for one in self._protocols()]
        await _wait_for([one.work for one, _ in connections], timeout)
        for one, _ in connections:
            one.work.cancel()
        gone = [one.gone for one, _ in connections]
        await _wait_for([*gone, *(one.work for one, _ in connections)], _GOODBYE_SECONDS)
        for _, transport in connections:
            transport.abort()
        await _wait_for(gone, _GOODBYE_SECONDS)

    def open_ones(self) -> Iterator[LimitedProtocol]:
        """Return the connections that nobody has told to close."""
        return (one for one in self._protocols() if not one.is_given_up)

    def _protocols(self) -> Iterator[LimitedProtocol]:
        return (one for one in self._connections if isinstance(one, LimitedProtocol))

    def gives_way(self, newest: web.RequestHandler | None = None, *, anybody: bool = True) -> bool:
        """Make room for the newest connection; return whether that was possible.

        Closed are those that have earned nothing and wait for a head, rest, owe a body or ask on
        and on, the longest first, several at a time, because to find them costs a look at all;
        else, for ``anybody``, the one that earned a 200 and rests longest.
        """
        silent_since = self._loop.time() - _ARRIVAL_SECONDS
        some = [one for one in self.open_ones() if one is not newest and one.may_go]
        some.sort(key=lambda one: one.merits(silent_since))
        unproven = [one for one in some if not one.is_trusted]
        given_up = unproven[: self.limits.connections // 32 + 1] or some[:anybody]
        for one in given_up:
            self._close(one)
        return bool(given_up)

    def _slow(self, began_before: float) -> Iterator[LimitedProtocol]:
        """Return who waits for a head since before that time, in the order of the connects."""
        return (one for one in self._protocols() if one.is_slow(began_before))

    def _close(self, connection: LimitedProtocol) -> None:
        self._unfinished += 1
        self._given_up.append(connection)
        connection.force_close()

    def _look_soon(self) -> None:
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._look_at_all)

    def _look_at_all(self) -> None:
        """Close whoever takes too long for a head; look again as long as anybody is there."""
        self._look = None
        self._look_soon()
        gone, self._given_up = self._given_up, []
        self._cut(gone)
        since = self._loop.time() - self.limits.head
        for connection in [*self._slow(since)]:
            self._close(connection)
        self._cut(one for one in [*self._protocols()] if one.is_unread(since))
        if self._unfinished:
            log.info("heads_unfinished", connections=self._unfinished)
        if self._refused:
            log.warning("connections_refused", connections=self._refused)
        self._refused = self._unfinished = 0
        if not self._connections and self._look is not None:
            self._look.cancel()
            self._look = None

    def _cut(self, connections: Iterable[LimitedProtocol]) -> None:
        for one in connections:
            if one in self._connections:
                self._connections[one].abort()


async def _wait_for(ends: Iterable[asyncio.Future[Any]], seconds: float | None) -> None:
    """Return when all of these are done, however they ended, or when the time is over."""
    if waited := set(ends):
        await asyncio.wait(waited, timeout=seconds)


def _piece_of(data: bytes) -> int:
    """Return how many bytes of it to parse at a turn: many lines may be as many heads or chunks."""
    return _DENSE_BYTES if data.count(b"\r\n", 0, PIECE_BYTES) > MAX_HEADERS else PIECE_BYTES


def forget_frames(message: Any) -> None:
    """Drop what an error of the parser holds: its frames, and in them all that was read.

    They hold the error as well, and such a circle lives until the collector comes, which is seldom.
    """
    error = getattr(message, "exc", None)
    if isinstance(error, BaseException):
        error.__traceback__ = error.__context__ = error.__cause__ = None


class LimitedProtocol(web.RequestHandler):
    """One connection, which knows since when the head of a request is on its way.

    ``work`` is the task that answers its requests, also when the client has hung up meanwhile;
    ``gone`` is done when nothing is left of the connection itself.
    """

    __slots__ = (
        "_head_bytes",
        "_limiter",
        "_parser_paused",
        "_turns",
        "_unfed",
        "answered",
        "body",
        "earned",
        "gone",
        "head_began",
        "lingers",
        "rests_since",
        "said_all",
        "spent",
        "unread_since",
        "waits",
        "work",
    )

    work: asyncio.Task[None]

    def __init__(self, server: LimitedServer, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            auto_decompress=False,
            keepalive_timeout=server.limits.idle,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            max_headers=MAX_HEADERS,
        )
        self.head_began: float | None = loop.time()  # the first one; None while there is none
        self.gone: asyncio.Future[None] = loop.create_future()
        self._limiter = server
        self._turns = server.turns
        self._head_bytes = 0
        self._parser_paused = False
        """Whether aiohttp's parser may be paused though reading is not."""
        self._unfed = b""
        """What was read, and not parsed yet."""
        self.waits = False
        """Whether it is to be parsed at a later turn."""
        self.spent = 0.0
        """Seconds that parsing took, as long as it had earned nothing."""
        self.answered = False
        """Whether it has waited for another request."""
        self.earned = False
        """Whether any request was answered 200."""
        self.body: StreamReader | None = None
        self.lingers = False
        """Whether the request is answered, and the rest of its body is still to come."""
        self.said_all = False
        """Whether the client has said that no more requests follow."""
        self.rests_since = loop.time()
        self.unread_since: float | None = None
        """Since when the client has left so much unread that nothing more is written."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to take requests."""
        super().connection_made(transport)
        self.work = cast("asyncio.Task[None]", self._task_handler)
        if self._is_secure:  # else TLS reads on behind our back, a quarter of a megabyte
            cast("Any", transport).set_read_buffer_limits(high=PIECE_BYTES)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Take note of the end."""
        super().connection_lost(exc)
        self._unfed, self.waits = b"", False
        self._limiter.leaving.discard(self)
        if not self.gone.done():
            self.gone.set_result(None)

    def force_close(self) -> None:
        """Give no more answers."""
        self.leave()
        super().force_close()

    def leave(self) -> None:
        """Take no place any more: it is closed as soon as the client has all, or reads too long."""
        if self.transport is not None:
            self._limiter.leaving.add(self)
            if self.unread_since is None:
                self.unread_since = self._loop.time()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on after a pause; aiohttp asks for it with each chunk of a body that is read.

        A body that ends while it is paused leaves the parser paused, which nobody sees before the
        next body. From then on the parser is asked each time, as aiohttp does it.
        """
        if self._reading_paused or self._parser_paused:
            self._parser_paused = self._parser_paused or not resume_parser
            super().resume_reading(resume_parser)

    def data_received(self, data: bytes) -> None:
        """Take what came; of a client that has earned nothing when it is its turn."""
        if not data or (self.earned and not self._unfed):  # aiohttp itself hands over nothing
            self._take(data)
        elif not self._unfed and len(data) <= _piece_of(data) and self._turns.take(len(data)):
            self._spend(data)
            if self._is_secure:
                self._wait_for_turn()
        else:
            self._unfed += data
            self._wait_for_turn()

    def feed(self) -> int:
        """Parse the next piece of what waits, or read on; return what that costs, 0 if nothing."""
        self.waits = False
        if self.transport is None or self._force_close:
            self._unfed = b""
            return 0
        if self._is_held:  # until aiohttp says that it goes on
            return 0
        if not self._unfed:
            super()._resume_transport_reading()
            return PIECE_BYTES
        size = _piece_of(self._unfed)
        piece, self._unfed = self._unfed[:size], self._unfed[size:]
        self._spend(piece)
        if self._unfed or self._is_secure:
            self._wait_for_turn()
        elif not self._is_held:
            super()._resume_transport_reading()
        return len(piece)

    @property
    def _is_secure(self) -> bool:
        """Return whether it speaks TLS, where to read may take milliseconds: a byte in a record."""
        return self.transport is not None and bool(self.transport.get_extra_info("sslcontext"))

    def abort(self) -> None:
        """Cut the connection, whatever is under way."""
        self._unfed = b""
        if self.transport is not None:
            self.transport.abort()

    def _wait_for_turn(self) -> None:
        """Neither parse nor read anything of it until its turn."""
        if not self.waits:
            self.waits = True
            self._pause_transport_reading()
            self._turns.wait(self)

    @property
    def _is_held(self) -> bool:
        """Return whether aiohttp has as many requests, or as much of a body, as it wants."""
        return self._reading_paused or self._buffer_paused

    def _resume_transport_reading(self) -> None:
        """Go on with what was read already, then with the connection."""
        if self._unfed:
            self._wait_for_turn()
        elif not self.waits:
            super()._resume_transport_reading()

    def _spend(self, data: bytes) -> None:
        body, begun = self._incoming, time.perf_counter()
        size = 0 if body is None else body.total_bytes
        self._take(data)
        self.spent += min(time.perf_counter() - begun, LONGEST_SECONDS)
        self._note_head(len(data))
        if body is None or body.is_eof() or self._reading_paused or len(data) < _DENSE_BYTES:
            return
        if 2 * (body.total_bytes - size) < len(data):
            self._unfed = b""
            body.set_exception(web.RequestPayloadError("chunks of a few bytes"))

    def _note_head(self, size: int) -> None:
        """Count what is parsed of a head that has no end yet; aiohttp limits its lines alone."""
        self._head_bytes = 0 if self._messages or not self.is_idle else self._head_bytes + size
        if self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            self._limiter.note_unfinished()
            self.transport.write(_MALFORMED)
            self.force_close()

    @property
    def _incoming(self) -> StreamReader | None:
        """Return the body that is on its way, or was the latest one to be."""
        return self._messages[-1][1] if self._messages else self.body

    def _take(self, data: bytes) -> None:
        """Take what came; a head that came in one piece, as almost every one does, has no start."""
        super().data_received(data)
        if self._messages:
            forget_frames(self._messages[-1][0])
        elif self._waiter is not None and self.head_began is None:
            self.head_began = self._loop.time()

    def pause_writing(self) -> None:
        """Take note that the client does not read."""
        self.unread_since = self._loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Take note that the client reads again; one that is closed may not take longer for it."""
        if self not in self._limiter.leaving:
            self.unread_since = None
        super().resume_writing()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # what asyncio asks for
        """Answer what was asked before the client has said that it says no more, then close.

        TLS has no half of a connection that could stay open.
        """
        if self.is_idle and not self._messages:
            return None
        self.said_all = True
        return not self._is_secure and self.transport is not None

    @property
    def is_given_up(self) -> bool:
        """Return whether it was told to close at once, or has given its last answer."""
        return self in self._limiter.leaving

    @property
    def may_go(self) -> bool:
        """Return whether it can be closed for another one: no request of it is being answered.

        Or one is, of a client that has earned nothing and still owes the body, has sent more
        requests already, or is answered and has not ended its body: nobody authentic does.
        """
        owes_body = self.body is not None and not self.body.is_eof()
        at_hand = self._waiter is not None  # the first one that came is about to be answered
        asks_on = len(self._messages) > at_hand
        return self.is_idle or self.lingers or (not self.earned and (owes_body or asks_on))

    @property
    def is_trusted(self) -> bool:
        """Return whether it earned a 200, and wastes nobody's time with a body that is not read."""
        return self.earned and not self.lingers

    def merits(self, silent_since: float) -> tuple[bool, bool, bool, float]:
        """Return by what connections are compared when some have to go: the least goes first.

        Who has just come, and has no answer yet, goes after those who ask on and on.
        """
        is_new = not self.answered and self.rests_since > silent_since
        is_silent = self.is_slow(silent_since) and not self.waits
        since = self.rests_since if self.head_began is None else self.head_began
        return self.is_trusted, is_new, not is_silent, since

    def is_unread(self, before: float) -> bool:
        """Return whether the client reads nothing since before that time."""
        return self.unread_since is not None and self.unread_since <= before

    @property
    def is_idle(self) -> bool:
        """Return whether it waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    def is_slow(self, began_before: float) -> bool:
        """Return whether a head is on its way since before that time."""
        if self.head_began is None or self._messages or self._force_close:
            return False
        return self.head_began <= began_before
