"""aiohttp's protocol of a connection, with public names for what the bridge needs of it.

It parses what comes in, keeps aiohttp's flow control and ours apart, and hands out one request at a
time. ``connection.Connection`` decides what becomes of them.
"""

# This is the only file of the bridge that uses private names of aiohttp. They are guarded by the
# version range in pyproject.toml, which admits one minor version, by mypy, which reads aiohttp's
# own types, and by tests/web, which drives all of this over real sockets (docs/decisions/0012).
#
# _loop                      the event loop
# _messages                  requests that are parsed, but not answered yet, each with its body
# _waiter                    what the loop waits for when there is no request; None if there is one
# _task_handler              the task that answers the requests
# _handle_request            calls the handler, and sends its response
# _make_error_handler        answers a request that the parser could not read
# _parser                    stops when too many requests wait, and is told when one is taken
# _msg_queue_resume_size, _resume_reading_if_drained      make it go on when few are left
# _close, _force_close       whether to close behind the answer at hand, or at once
# _keepalive_handle, _next_keepalive_close_time, _process_keepalive      the timer that ends a rest
# _paused                    whether the client leaves too much unread
# _upgraded                  whether the client has asked for another protocol
# _reading_paused            whether the parser has as much of a body as it wants
# _buffer_paused             whether it has as many requests as it wants
# _pause_transport_reading, _resume_transport_reading      stop and start the socket
# _message, _protocol        what a request object knows of its head, and of its connection
# _prepare_hook              is called before the head of a response is sent

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR

from bridge.web.intake import MAX_HEADERS

if TYPE_CHECKING:
    from bridge.web.server import HttpServer

_MAX_LINE_BYTES = 8190
"""Maximum length of a request line, and of a header: aiohttp's own."""

_MALFORMED = ERROR._replace(version=HttpVersion11)
"""Stands for a request that could not be read. aiohttp would answer its own one as HTTP/1.0."""


class HttpProtocol(web.RequestHandler):
    """One connection: what came, how far it is parsed, and which request is next."""

    __slots__ = (
        "_is_parser_empty",
        "_parser_paused",
        "body",
        "head_began",
        "is_taken",
        "server",
        "waited",
        "work",
    )

    # Second names for slots of aiohttp: read for every request, and a property costs a call.
    # mypy sees variables of instances in them, and slots are members of the class.
    queue = web.RequestHandler._messages  # type: ignore[misc]
    closes_behind_answer = web.RequestHandler._close  # type: ignore[misc]
    is_cut = web.RequestHandler._force_close  # type: ignore[misc]
    is_body_paused = web.RequestHandler._reading_paused  # type: ignore[misc]

    work: asyncio.Task[None]
    """The task that answers the requests. It may outlive the connection, if the client hangs up."""

    def __init__(self, server: HttpServer) -> None:
        super().__init__(
            server,
            loop=server.loop,
            auto_decompress=False,  # the signature covers the bytes of the wire
            keepalive_timeout=server.limits.idle,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
        )
        self.server = server
        self._parser_paused = False
        self._is_parser_empty = True
        self.is_taken = False
        """Whether the plain path has a request at hand, of which aiohttp knows nothing."""
        self.waited: float | None = None
        """For how many seconds a body was waited for, until its request was left to aiohttp."""
        self.body: StreamReader | None = None
        """The body of the latest request."""
        self.head_began: float | None = server.loop.time()
        """When the head that is on its way began; the first one begins when the client connects."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to take requests."""
        super().connection_made(transport)
        self.work = cast("asyncio.Task[None]", self._task_handler)

    # What the connection decides

    @property
    def is_stopping(self) -> bool:
        """Return whether the answer to the request at hand is the last one."""
        return False

    def may_read_on(self) -> bool:
        """Return whether more may be read now, as far as aiohttp is not against it."""
        return True

    # What comes in

    def parse(self, data: bytes) -> None:
        """Parse what came."""
        owed, asked = self.incoming, len(self._messages)
        if owed is not None and owed.is_eof():
            owed = None
        size = 0 if owed is None else owed.total_bytes
        super().data_received(data)
        if data:
            new = len(self._messages) - asked
            self._is_parser_empty = self._has_read_all(data, owed, size, new)
        if self._messages:
            _forget_frames(self._messages[-1][0])
        # Almost every head comes in one piece, and needs no look at the clock.
        elif self._waiter is not None and self.head_began is None:
            self.head_began = self._loop.time()

    def _has_read_all(self, data: bytes, owed: StreamReader | None, size: int, new: int) -> bool:
        """Return whether the parser waits for the first byte of a request, as far as can be told.

        ``owed`` is the body that was not complete before the data, ``size`` what it had; ``new`` is
        how many requests have begun. A doubt counts as no.
        """
        body = self.incoming
        if body is None or not body.is_eof() or self.is_held or self._upgraded:
            return False
        if data.endswith(b"\r\n\r\n"):  # with that each head and each chunked body ends
            return True
        if owed is not None:
            return body is owed and body.total_bytes - size == len(data)
        if new != 1 or data[0] in b"\r\n":  # which could end a head that began before
            return False
        end = data.find(b"\r\n\r\n") + 4
        has_crlf_alone = data.count(b"\n", 0, end) == data.count(b"\r\n", 0, end)
        return end >= 4 and has_crlf_alone and body.total_bytes == len(data) - end

    def read_no_more(self) -> None:
        """Leave in the socket what comes from now on."""
        self._pause_transport_reading()

    def read_on(self) -> None:
        """Read from the socket again."""
        super()._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        if self.may_read_on():
            super()._resume_transport_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on after a pause. aiohttp calls this for each chunk that the handler has read."""
        # A body that ends while it is paused leaves the parser paused, and nothing tells before
        # the next body. So from the first such call on, every call is passed on, as aiohttp has it.
        if self._reading_paused or self._parser_paused:
            self._parser_paused = self._parser_paused or not resume_parser
            super().resume_reading(resume_parser)

    # Requests

    async def next_request(self) -> tuple[Any, StreamReader]:
        """Return a request and its body, which may still be on its way."""
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.head_began = None
        request = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return request

    def respond(self, message: Any, body: StreamReader) -> Awaitable[tuple[Any, bool]]:
        """Answer a request; return the response, and whether the client has gone meanwhile."""
        handler = self.server.request_handler
        if not isinstance(message, RawRequestMessage):
            _forget_frames(message)
            message, handler = _MALFORMED, self._make_error_handler(message)
        writer, limit = StreamWriter(self, self._loop), self.server.max_body
        request = _Request(
            message, body, self, writer, self.work, self._loop, client_max_size=limit
        )
        self.body = body
        return self._handle_request(request, None, handler)

    def close_if_idle(self, at: float) -> None:
        """Close the connection at that time of the loop, if it waits for a request then."""
        timer, planned = self._keepalive_handle, self._next_keepalive_close_time
        # A timer that is due too early sets itself again. So only one that is due too late has to
        # go: the one that aiohttp sets when a client connects.
        if timer is not None and at < planned:
            timer.cancel()
            timer = None
        self._next_keepalive_close_time = at
        if timer is None:
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)

    def _process_keepalive(self) -> None:
        if self.is_taken:
            self._keepalive_handle = None  # ``close_if_idle`` sets another one
        else:
            super()._process_keepalive()

    # What others ask

    @property
    def is_idle(self) -> bool:
        """Return whether it waits for a request, or for the rest of one's head."""
        waiter = self._waiter
        return waiter is not None and not waiter.done() and not self.is_taken

    @property
    def is_at_rest(self) -> bool:
        """Return whether nothing is under way, nothing owed, and what is sent is read."""
        waiter = self._waiter
        if waiter is None or waiter.done() or self.is_taken or self._paused:
            return False
        return self._is_parser_empty

    @property
    def awaits_head(self) -> bool:
        """Return whether what comes next is of a head."""
        return self.is_idle and not self._messages

    @property
    def owes(self) -> bool:
        """Return whether its request lacks some of the body, or has others behind it already."""
        at_hand = self._waiter is not None  # the first one of the queue is about to be answered
        owes_body = self.body is not None and not self.body.is_eof()
        return owes_body or len(self._messages) > at_hand

    @property
    def is_closed(self) -> bool:
        """Return whether nothing more is to be read."""
        return self.transport is None or self._force_close

    @property
    def is_held(self) -> bool:
        """Return whether aiohttp has as many requests, or as much of a body, as it wants."""
        return self._reading_paused or self._buffer_paused

    @property
    def incoming(self) -> StreamReader | None:
        """Return the body that is on its way, or was the latest one to be."""
        return self._messages[-1][1] if self._messages else self.body

    @property
    def is_secure(self) -> bool:
        """Return whether it speaks TLS. To read may take milliseconds then: a byte in a record."""
        return self.transport is not None and bool(self.transport.get_extra_info("sslcontext"))

    def is_slow(self, began_before: float) -> bool:
        """Return whether a head is on its way since before that time."""
        if self.head_began is None or self._messages or self._force_close:
            return False
        return self.head_began <= began_before


class _Request(web.BaseRequest):
    _protocol: HttpProtocol

    @property
    def keep_alive(self) -> bool:
        """Return whether the connection stays open; if not, the response says so."""
        return not (self._message.should_close or self._protocol.is_stopping)

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)  # what we run is nobody's business


def _forget_frames(message: Any) -> None:
    """Drop what an error of the parser holds: its frames, and in them all that was read."""
    # The frames hold the error as well, and such a circle lives until the garbage collector comes,
    # which is seldom.
    error = getattr(message, "exc", None)
    if isinstance(error, BaseException):
        error.__traceback__ = error.__context__ = error.__cause__ = None
