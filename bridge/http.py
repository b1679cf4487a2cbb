"""An HTTP server that says little: no ``Server`` header, nothing echoed, errors as problems.

aiohttp answers malformed HTTP with the offending bytes in the body, names itself in every
response, and decodes compressed bodies before a handler sees them; here it does none of this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import orjson
import structlog
from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
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


class HttpServer(web.Server):
    """aiohttp's low-level server with one handler; bodies over ``max_body`` bytes raise 413."""

    def __init__(self, handler: Handler, *, max_body: int) -> None:
        super().__init__(handler, request_factory=self._request)
        self._max_body = max_body

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        return _Protocol(self, loop=asyncio.get_running_loop(), auto_decompress=False)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return _Request(
            message, payload, protocol, writer, task, loop, client_max_size=self._max_body
        )


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
