"""Responses: how what we answer becomes HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TypeAlias

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion11

from bridge.web.answers import PROBLEM, TITLES, Rejection
from bridge.web.replies import Reply, ok_bytes, rejected

HttpResponse: TypeAlias = "web.StreamResponse | JsonOk"
Handler = Callable[[web.BaseRequest], Awaitable[HttpResponse]]


def reject(rejection: Rejection, **values: object) -> web.Response:
    """Build the response for a rejection; ``values`` go into the places of its texts."""
    return _response(rejected(rejection, **values))


def rejection_bytes(rejection: Rejection) -> bytes:
    """Return the whole response, for a connection from which no request was read."""
    content = orjson.dumps(rejection.problem())
    fields = {"Content-Type": PROBLEM, "Content-Length": f"{len(content)}", "Connection": "close"}
    lines = [f"{name}: {text}" for name, text in {**fields, **rejection.headers}.items()]
    first = f"HTTP/1.1 {rejection.status} {TITLES[rejection.status]}"
    return "\r\n".join([first, *lines, "", ""]).encode() + content


def json_response(content: object, *, status: int = 200) -> web.Response:
    """Build a response whose body is JSON."""
    body = orjson.dumps(content)
    return web.Response(status=status, body=body, content_type="application/json")


def response_to(request: web.BaseRequest, reply: Reply) -> HttpResponse:
    """Build the response to a POST."""
    is_open = request.keep_alive and request.version == HttpVersion11
    if is_open and reply.status == HTTPStatus.OK:
        return JsonOk(reply.body)
    return _response(reply)


def _response(reply: Reply) -> web.Response:
    response = web.Response(
        status=reply.status,
        body=reply.body,
        headers=reply.headers,
        content_type=reply.media_type,
    )
    if reply.close:
        response.force_close()
    return response


class JsonOk:
    """A 200 with a JSON body, as one piece of bytes: the response to almost every request.

    aiohttp builds a response header by header. That costs more than all of this class
    (docs/performance.md). It suits only HTTP/1.1 connections that stay open, and no HEAD.
    """

    # aiohttp's protocol uses exactly these members of a response.
    __slots__ = ("_bytes",)
    keep_alive = True
    status = HTTPStatus.OK

    def __init__(self, body: bytes) -> None:
        self._bytes = ok_bytes(body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send all of it."""
        await request.writer.write(self._bytes)

    async def write_eof(self) -> None:
        """Do nothing: ``prepare`` has sent the body too."""
