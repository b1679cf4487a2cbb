"""Responses: how what we answer becomes HTTP."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TypeAlias

import orjson
from aiohttp import web
from aiohttp.http import HttpVersion11

from bridge.web.answers import PROBLEM, TITLES, Rejection

HttpResponse: TypeAlias = "web.StreamResponse | JsonOk"
Handler = Callable[[web.BaseRequest], Awaitable[HttpResponse]]


def reject(rejection: Rejection, **values: object) -> web.Response:
    """Build the response for a rejection; ``values`` go into the places of its texts."""
    response = web.Response(
        status=rejection.status,
        body=orjson.dumps(rejection.problem(**values)),
        headers={name: text.format(**values) for name, text in rejection.headers.items()},
        content_type=PROBLEM,
    )
    if rejection.close:
        response.force_close()
    return response


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


def ok(request: web.BaseRequest, content: object) -> HttpResponse:
    """Build the 200 for a POST, with JSON as its body."""
    if request.keep_alive and request.version == HttpVersion11:
        return JsonOk(orjson.dumps(content))
    return json_response(content)


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
        self._bytes = b"%b%d\r\nDate: %b\r\n\r\n%b" % (_HEAD, len(body), _date(), body)

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send all of it."""
        await request.writer.write(self._bytes)

    async def write_eof(self) -> None:
        """Do nothing: ``prepare`` has sent the body too."""


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def _date() -> bytes:
    return _date_at(int(time.time()))


@lru_cache(maxsize=1)  # thousands of responses share one second
def _date_at(second: int) -> bytes:
    """Return a time in the form of RFC 9110, which wants it in every response."""
    return formatdate(second, usegmt=True).encode()
