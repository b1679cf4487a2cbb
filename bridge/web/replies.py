"""Replies: what is answered, before it becomes a response of HTTP, and the bytes of that."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, final

import orjson

from bridge.web.answers import PROBLEM, Rejection

JSON: Final = "application/json"

_NO_HEADERS: Final[Mapping[str, str]] = {}
_OK: Final = HTTPStatus.OK.value


@final
class Reply:
    """What a request is answered. With ``close`` the connection ends behind it."""

    __slots__ = ("body", "close", "headers", "media_type", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        media_type: str = JSON,
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        close: bool = False,
    ) -> None:
        self.status: Final = status
        self.body: Final = body
        self.media_type: Final = media_type
        self.headers: Final = headers
        self.close: Final = close


def accepted(content: Mapping[str, Any]) -> Reply:
    """Return the reply to what was accepted: 200, with JSON as its body."""
    return Reply(_OK, orjson.dumps(content))


def rejected(rejection: Rejection, **values: object) -> Reply:
    """Return the reply to what was rejected; ``values`` go into the places of its texts."""
    body = orjson.dumps(rejection.problem(**values))
    headers = {name: text.format(**values) for name, text in rejection.headers.items()}
    return Reply(rejection.status, body, PROBLEM, headers, close=rejection.close)


def reply_bytes(reply: Reply, *, close: bool) -> bytes:
    """Return the response to an HTTP/1.1 request: the same bytes that aiohttp would send.

    Without ``close`` the connection stays open.
    """
    if reply.status == _OK and not close:
        return ok_bytes(reply.body)
    fields = {
        **reply.headers,
        "Content-Type": reply.media_type,
        "Content-Length": f"{len(reply.body)}",
        "Date": _date().decode(),
    }
    if close:
        fields["Connection"] = "close"
    lines = [f"{name}: {text}" for name, text in fields.items()]
    first = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"
    return "\r\n".join([first, *lines, "", ""]).encode() + reply.body


def ok_bytes(body: bytes) -> bytes:
    """Return the response to almost every request: 200, on a connection that stays open."""
    return b"%b%d\r\nDate: %b\r\n\r\n%b" % (_HEAD, len(body), _date(), body)


_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "


def _date() -> bytes:
    return _date_at(int(time.time()))


@lru_cache(maxsize=1)  # thousands of responses share one second
def _date_at(second: int) -> bytes:
    """Return a time in the form of RFC 9110, which wants it in every response."""
    return formatdate(second, usegmt=True).encode()
