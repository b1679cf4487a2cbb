"""An HTTP server that says little: no ``Server`` header, nothing echoed, errors as problems.

aiohttp answers malformed HTTP with the offending bytes in the body, names itself in every
response, and decodes compressed bodies before a handler sees them; here it does none of this.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11, RawRequestMessage, StreamWriter
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import ERROR

from bridge.sampling import Sampled
from bridge.web.answers import SERVER_REJECTIONS
from bridge.web.limits import LimitedProtocol, LimitedServer, Limits, forget_frames
from bridge.web.responses import Handler, reject

_MALFORMED = ERROR._replace(version=HttpVersion11)
"""Stands for a request that nobody could read. aiohttp answers its own ``ERROR`` as HTTP/1.0."""

_LINGER_SECONDS = 10.0
"""How long a body is read that was answered before its end: its sender must see the answer."""

_STRANGER_SECONDS = 5.0
"""How long a connection may rest between two requests of which none was answered 200."""

log = structlog.get_logger()


class HttpServer(LimitedServer):
    """aiohttp's low-level server with one handler; bodies over ``max_body`` bytes raise 413.

    ``proves``: a 200 is for nobody but who knows a secret.
    """

    def __init__(
        self, handler: Handler, *, max_body: int, limits: Limits, proves: bool = True
    ) -> None:
        super().__init__(handler, limits=limits)
        self.proves = proves
        self.max_body = max_body
        self.refusals = Sampled()
        self._own_loop = asyncio.get_running_loop()

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return _Protocol(self, loop=self._own_loop)


class _Request(web.BaseRequest):
    _protocol: _Protocol

    @property
    def keep_alive(self) -> bool:
        """Return whether the connection stays open; if not, the answer says so."""
        return not (self._message.should_close or self._protocol.is_stopping)

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)


class _Protocol(LimitedProtocol):
    """One connection: aiohttp's parser, flow control and shutdown around a loop of our own.

    aiohttp's loop runs a task for every request, for the sake of context variables. Here nobody
    leaves any set (tracing takes its own back), so the connection's own task does all of the work
    (docs/decisions/0012).
    """

    __slots__ = ("_max_body", "_server")

    def __init__(self, server: HttpServer, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(server, loop=loop)
        self._max_body = server.max_body
        self._server = server

    async def start(self) -> None:
        """Answer one request after the other, until the connection is to be closed."""
        try:
            if self._messages or not self.is_stopping:  # it may be told to stop before it begins
                while not self._force_close and await self._answer(*await self._next()):
                    if not await self._goes_on():
                        break
        except asyncio.CancelledError:
            self.force_close()
            raise
        except ConnectionError:  # half an answer was sent
            self.force_close()
        self.leave()
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    @property
    def is_stopping(self) -> bool:
        """Return whether the answer to the request at hand is the last one."""
        return self._server.is_stopping

    async def _next(self) -> tuple[Any, StreamReader]:
        """Return a request and its body, which may still be on its way."""
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.head_began = None
        request = self._messages.popleft()
        forget_frames(request[0])
        if self._parser is not None:
            self._parser.message_consumed()
        if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
            self._resume_reading_if_drained()
        return request

    async def _answer(self, message: Any, payload: StreamReader) -> bool:
        """Answer a request; return whether another one may follow."""
        handler, task = self._request_handler, self._task_handler
        assert handler is not None and task is not None  # noqa: S101, PT018  # connected, running
        if not isinstance(message, RawRequestMessage):
            message, handler = _MALFORMED, self._make_error_handler(message)
        writer, limit = StreamWriter(self, self._loop), self._max_body
        request = _Request(message, payload, self, writer, task, self._loop, client_max_size=limit)
        self.body = payload
        answer, gone = await self._handle_request(request, None, handler)
        self.earned = self.earned or (self._server.proves and answer.status == HTTPStatus.OK)
        if not payload.is_eof():
            self.lingers = True
            await self._linger(payload)
            self.lingers = False
        ends = not payload.is_eof() or gone or self._close or self._server.is_stopping
        return bool(answer.keep_alive) and not ends

    async def _linger(self, payload: StreamReader) -> None:
        """Read the rest of a body that was answered before its end."""
        try:
            async with asyncio.timeout(_LINGER_SECONDS):
                while not payload.is_eof() and not self._force_close:
                    await payload.readany()
        except (TimeoutError, web.RequestPayloadError):
            pass

    async def _goes_on(self) -> bool:
        """Prepare for another request; return whether one may follow.

        When it is there already all others have their turn first: a client may send thousands.
        """
        if self.said_all and not self._messages:
            return False
        self._wait_for_another()
        if self._messages:
            await asyncio.sleep(0)
        return True

    def _wait_for_another(self) -> None:
        rest, self.answered = self._keepalive_timeout, True
        self.rests_since = self._loop.time()
        close_at = self.rests_since + (rest if self.earned else min(rest, _STRANGER_SECONDS))
        timer, planned = self._keepalive_handle, self._next_keepalive_close_time
        if timer is not None and close_at < planned:  # aiohttp's first one, set at the connect
            timer.cancel()
            timer = None
        self._next_keepalive_close_time = close_at
        if timer is None:
            self._keepalive_handle = self._loop.call_at(close_at, self._process_keepalive)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer malformed HTTP (400), our own defects (500) and the end of memory (503).

        There is no word of the input in it.
        """
        lets = self._server.refusals.lets
        if isinstance(exc, MemoryError):
            if lets("memory"):
                log.error("memory_exhausted")
            rejection = SERVER_REJECTIONS["memory_exhausted"]
        elif status >= 500:
            if lets("failed"):
                log.error("request_failed", exc_info=exc)
            rejection = SERVER_REJECTIONS["request_failed"]
        else:
            if lets("malformed"):
                error = type(exc).__name__
                log.warning("request_malformed", remote=request.remote, error=error)
            rejection = SERVER_REJECTIONS["request_malformed"]
        if request.writer.output_size > 0:  # half an answer is out: the connection must break
            raise ConnectionError(rejection.detail)
        return reject(rejection)
