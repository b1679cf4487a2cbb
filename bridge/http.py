"""An HTTP server that says little: no ``Server`` header, nothing echoed, errors as problems.

aiohttp answers malformed HTTP with the offending bytes in the body, names itself in every
response, and decodes compressed bodies before a handler sees them; here it does none of this.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, close: bool = False
) -> web.Response:
    """Build an ``application/problem+json`` answer (RFC 9457); ``close`` ends the connection."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    response = web.Response(
        status=status,
        body=orjson.dumps(body),
        headers=headers,
        content_type="application/problem+json",
    )
    if close:
        response.force_close()
    return response


def json_response(content: object, *, status: int = 200) -> web.Response:
    """Build an ``application/json`` answer."""
    body = orjson.dumps(content)
    return web.Response(status=status, body=body, content_type="application/json")


def accepted(request: web.BaseRequest, content: object) -> web.StreamResponse:
    """Build the ``application/json`` answer to a POST that succeeded."""
    if request.keep_alive and request.version == HttpVersion11:
        return JsonResponse(orjson.dumps(content))
    return json_response(content)


class JsonResponse(web.StreamResponse):
    """A 200 with a JSON body, as one piece of bytes: what is sent for almost every request.

    aiohttp builds a response from headers one by one, which costs more than all that is said here
    (docs/performance.md). Only for HTTP/1.1 connections that stay open, and not for HEAD.
    """

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._content = b"%b%d\r\nDate: %b\r\n\r\n%b" % (_HEAD, len(body), _date(), body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: there is nothing to add."""
        self._writer = request.writer
        self._keep_alive = True

    async def write_eof(self, data: bytes = b"") -> None:
        """Send all of it."""
        await self._writer.write(self._content)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def _date() -> bytes:
    return _date_at(int(time.time()))


@lru_cache(maxsize=1)
def _date_at(second: int) -> bytes:
    """Return RFC 9110's form of a time; an origin server says it in every answer."""
    return formatdate(second, usegmt=True).encode()


class HttpServer(web.Server):
    """aiohttp's low-level server with one handler; bodies over ``max_body`` bytes raise 413."""

    def __init__(self, handler: Handler, *, max_body: int) -> None:
        super().__init__(handler, request_factory=self._request)
        self._max_body = max_body
        self._own_loop = asyncio.get_running_loop()

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return _Protocol(self, loop=self._own_loop, auto_decompress=False)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop, limit = self._own_loop, self._max_body
        return _Request(message, payload, protocol, writer, task, loop, client_max_size=limit)


class _Request(web.BaseRequest):
    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        response.headers.pop(hdrs.SERVER, None)


class _Protocol(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer malformed HTTP (400) and our own defects (500) without a word of the input."""
        if status >= 500:
            log.error("request_failed", exc_info=exc)
            detail = "The request failed; the cause is in the service's log."
        else:
            log.warning("request_malformed", remote=request.remote, error=type(exc).__name__)
            detail = "The request is not valid HTTP/1.1."
        if request.writer.output_size > 0:  # half an answer is out: the connection must break
            raise ConnectionError(detail)
        return problem(status, detail, close=True)


class Listener:
    """One bound address; ``port`` is the real one when 0 was asked for.

    ``grace`` is for how many seconds requests may go on after ``stop``.
    """

    def __init__(self, server: HttpServer, *, host: str, port: int, grace: float) -> None:
        self._runner = web.ServerRunner(server, shutdown_timeout=grace)
        self._host = host
        self._asked = port
        self.port = port

    async def start(self) -> None:
        """Bind and accept; raises OSError."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._asked, backlog=1024).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop accepting, let requests finish for a while, then cut them off."""
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        """Return the address as a URL that a client on this machine can use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self._host, self._host)  # noqa: S104
        return f"http://{host}:{self.port}"
