"""From an event to an exchange and a routing key that is always legal in AMQP.

Rules: a key is lower case; what is outside ``[a-z0-9_.-]`` is percent-encoded, byte by byte, with
lower-case digits; over 255 bytes (AMQP 0-9-1, section 4.2.5.3, short strings) it is cut and made
unique by a hash.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import NamedTuple, TypeVar

from bridge.core.event import Event

MAX_KEY_BYTES = 255
_KEPT_BYTES = 200
_ILLEGAL = re.compile(rb"[^a-z0-9_.-]")

_T = TypeVar("_T")


def remembered(function: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let a pure function of a name remember its results.

    Anybody who may sign can invent names, and long ones: those are worked out every time.
    """
    cached = lru_cache(maxsize=1024)(function)

    @wraps(function)
    def call(name: str) -> _T:
        return cached(name) if len(name) <= MAX_KEY_BYTES else function(name)

    return call


@dataclass(frozen=True, slots=True)
class Route:
    """Where the events that match a topic pattern go.

    ``routing_key`` may hold ``{context}``, ``{endpoint}``, ``{entity}``, ``{action}`` and
    ``{primary_key}``. A ``raw`` route publishes the bytes that were received.
    """

    match: str
    exchange: str
    routing_key: str = "{entity}.{action}"
    raw: bool = False


class Target(NamedTuple):
    """Where one message goes."""

    exchange: str
    routing_key: str
    raw: bool = False


class Router:
    """Chooses the target of an event: the first route that matches, else the default."""

    def __init__(self, routes: Sequence[Route], *, exchange: str) -> None:
        self._routes = tuple((topic_pattern(route.match), route) for route in routes)
        self._default = Route(match="#", exchange=exchange)
        self._choose = remembered(self._first_match)

    def target(self, event: Event) -> Target:
        """Return the exchange, the routing key and whether the body stays raw."""
        route, default_key = self._choose(topic(event))
        if route.routing_key == "{entity}.{action}":
            return Target(route.exchange, default_key, route.raw)
        return Target(route.exchange, render_key(route.routing_key, event), route.raw)

    def _first_match(self, name: str) -> tuple[Route, str]:
        key = routing_key(name)
        for pattern, route in self._routes:
            if pattern.fullmatch(f".{key}"):
                return route, key
        return self._default, key


def topic(event: Event) -> str:
    """Return ``{entity}.{action}``, or the bare name of an event without a dot."""
    return f"{event.entity}.{event.action}" if "." in event.name else event.name


def routing_key(name: str) -> str:
    """Return the default routing key of a topic."""
    return shorten(encode(name))


def render_key(template: str, event: Event) -> str:
    """Fill a route's template; an event name without a dot has no ``.{action}``.

    A key that would be empty is the default one.
    """
    if "." not in event.name:
        template = template.replace(".{action}", "")
    filled = template.format(
        context=event.context or "unknown",
        endpoint=event.endpoint,
        entity=event.entity,
        action=event.action,
        primary_key="none" if event.primary_key is None else event.primary_key,
    )
    return shorten(encode(filled or topic(event)))


@remembered
def encode(name: str) -> str:
    """Return the name in lower case, percent-encoded outside ``[a-z0-9_.-]``."""
    return _ILLEGAL.sub(_percent, name.lower().encode()).decode("ascii")


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%%%02x" % match.group()[0]


def shorten(key: str) -> str:
    """Return an encoded key of at most 255 bytes: its start, ``~``, and 16 hex of its SHA-256."""
    if len(key) <= MAX_KEY_BYTES:
        return key
    start = key[:_KEPT_BYTES]
    escape = start.rfind("%", _KEPT_BYTES - 2)
    if escape != -1:  # an escape is three characters, and this one would be split
        start = start[:escape]
    return f"{start}~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def topic_pattern(pattern: str) -> re.Pattern[str]:
    """Compile an AMQP topic pattern; match it against the key with a dot put before it.

    ``*`` is one word and ``#`` any number of words, none included.
    """
    words = {"*": r"\.[^.]*", "#": r"(?:\.[^.]*)*"}
    return re.compile("".join(words.get(w, rf"\.{re.escape(w)}") for w in pattern.split(".")))
