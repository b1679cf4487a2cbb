"""The heads of plain requests: what is recognized here needs no HTTP parser.

*Plain* is a POST of SuperOffice in which nothing is odd. Everything else is left to aiohttp with
its bytes untouched, so a doubt costs some time and nothing else. Plain means:

- ``POST``, the path of an endpoint letter by letter, ``HTTP/1.1``;
- a head that is whole, of printable ASCII, with CRLF and no folded line;
- exactly one ``Host`` and one ``Content-Length``, which is neither 0 nor too large;
- nothing else that says how long the body is, how it is encoded, or what becomes of the connection,
  but ``Connection: keep-alive`` and ``Expect: 100-continue``;
- no header twice that counts, or that aiohttp refuses when it comes twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, final

from bridge.superoffice.headers import EVENT, EVENT_ID, RETRY, SIGNATURE, TRACEPARENT

MAX_HEAD_BYTES: Final = 8190
"""Maximum length of a plain head: of a single line aiohttp takes as much."""

MAX_LINES: Final = 65
"""Maximum number of its lines: the request line, and as many headers as ``intake.MAX_HEADERS``."""

_MAX_NAMES: Final = 256
"""How many spellings of names are remembered: anybody can invent some."""

_PATH: Final = re.compile(r"/|(?:/[\w~-][\w.~-]*)+", re.ASCII)
"""Paths that look the same on the wire as in the configuration."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_MAX_DIGITS: Final = 9

_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_ENDS: Final = tuple(b"\r\n" * lines for lines in range(MAX_LINES))

_LEFT_OUT: Final = -1
"""Of a header that means nothing to the bridge."""

_ODD: Final = -2
"""Of a header that is not plain."""

_PLACES: Final = {
    str.lower(name): place
    for place, name in enumerate(
        (
            *("host", "content-length", "connection", "expect", "content-type", "user-agent"),
            *(SIGNATURE, EVENT, EVENT_ID, RETRY, TRACEPARENT),
        )
    )
}
"""Of each header that may come once, its place among the values."""

_EXPECT: Final = 3
_OURS: Final = 6
"""The places from which SuperOffice's begin."""

_NOTHING: Final[tuple[str | None, ...]] = (None,) * len(_PLACES)

_ODD_NAMES: Final = frozenset(
    (
        *("transfer-encoding", "content-encoding", "te", "trailer", "upgrade", "http2-settings"),
        *("keep-alive", "proxy-connection"),
        *("content-location", "content-range", "etag", "max-forwards", "server"),
    )
)
_ODD_BEGINNING: Final = "sec-websocket-"


@final
class Head:
    """What counts of a plain request's head; ``start`` and ``length`` are the body's, in bytes.

    With ``expects`` the client waits for 100 before it sends a body. The rest are values of
    headers, None where there is none.
    """

    __slots__ = (
        "endpoint",
        "event",
        "event_id",
        "expects",
        "length",
        "retry",
        "signature",
        "start",
        "traceparent",
    )

    def __init__(self, endpoint: str, start: int, length: int, values: list[str | None]) -> None:
        self.endpoint = endpoint
        self.start = start
        self.length = length
        self.expects = values[_EXPECT] is not None
        self.signature, self.event, self.event_id, self.retry, self.traceparent = values[_OURS:]


@final
class Heads:
    """Recognizes plain requests for some paths."""

    def __init__(self, paths: Mapping[str, str], *, max_body: int) -> None:
        """Take the endpoints' names by path, and the maximum number of bytes of a body."""
        self._endpoints = {
            f"POST {path} HTTP/1.1": name for path, name in paths.items() if _PATH.fullmatch(path)
        }
        self._max_body = max_body
        self._places: dict[str, int] = {}
        """By the spelling of the name on the wire."""

    def read(self, data: bytes) -> Head | None:
        """Return the head with which the data begins, or None if that is not plain.

        More or less than the body may be behind it.
        """
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            return None
        lines = _lines_of(data[:end])
        endpoint = self._endpoints.get(lines[0]) if lines else None
        if endpoint is None:
            return None
        values = list(_NOTHING)
        known = self._places
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            place = known.get(name)
            if place is None:
                place = self._learn(name)
            if place == _LEFT_OUT and colon:
                continue
            if place < 0 or not colon or values[place] is not None:
                return None
            values[place] = value.strip(" ")
        return self._head(endpoint, end + 4, values)

    def _learn(self, name: str) -> int:
        """Return the place of a name, and remember it unless it is odd."""
        place = _place_of(name)
        if place != _ODD:  # which may be long, and of a request that is slow anyway
            # A stranger can fill it, so it begins anew: the names of real senders are soon back.
            if len(self._places) >= _MAX_NAMES:
                self._places.clear()
            self._places[name] = place
        return place

    def _head(self, endpoint: str, start: int, values: list[str | None]) -> Head | None:
        host, digits, connection, expect = values[:4]
        if host is None or digits is None or not digits.isdigit() or digits[0] == "0":
            return None
        if len(digits) > _MAX_DIGITS or (length := int(digits)) > self._max_body:
            return None
        if connection is not None and str.lower(connection) != "keep-alive":
            return None
        if expect is not None and str.lower(expect) != "100-continue":
            return None
        return Head(endpoint, start, length, values)


def _lines_of(head: bytes) -> list[str]:
    """Return the lines of a head, none if it is not of printable ASCII."""
    if not head.isascii():
        return []
    lines = head.decode("ascii").split("\r\n")
    if len(lines) > MAX_LINES or head.translate(None, _PRINTABLE) != _ENDS[len(lines) - 1]:
        return []
    return lines


def _place_of(name: str) -> int:
    lower = str.lower(name)
    if not _NAME.fullmatch(name) or lower in _ODD_NAMES or lower.startswith(_ODD_BEGINNING):
        return _ODD
    return _PLACES.get(lower, _LEFT_OUT)
