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
from itertools import pairwise
from typing import Final, TypeVar, final

from bridge.core.event import Event

MAX_KEY_BYTES = 255
_KEPT_BYTES = 200
_ILLEGAL = re.compile(rb"[^a-z0-9_.-]+")

DEFAULT_KEY = "{entity}.{action}"
"""Routing key of a route that names none."""

_T = TypeVar("_T")


def remembered(function: Callable[[str], _T]) -> Callable[[str], _T]:
    """Let a pure function of a name remember its results.

    Events can have invented names. Long ones are not remembered, so the memory stays small.
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
    routing_key: str = DEFAULT_KEY
    raw: bool = False


@final
class Target:
    """Where one message goes."""

    __slots__ = ("exchange", "raw", "routing_key")

    def __init__(
        self,
        exchange: str,
        routing_key: str,
        raw: bool = False,
    ) -> None:
        self.exchange: Final = exchange
        self.routing_key: Final = routing_key
        self.raw: Final = raw


class Router:
    """Chooses the target of an event: the first route that matches, else the default."""

    def __init__(self, routes: Sequence[Route], *, exchange: str) -> None:
        self._routes = tuple((TopicPattern(route.match), route) for route in routes)
        self._default = Route(match="#", exchange=exchange)
        self._choose = remembered(self._first_match)

    def target(self, event: Event) -> Target:
        """Return the exchange, the routing key and whether the body stays raw."""
        route, default_key = self._choose(topic(event))
        if route.routing_key == DEFAULT_KEY:
            return Target(route.exchange, default_key, route.raw)
        return Target(route.exchange, render_key(route.routing_key, event), route.raw)

    def _first_match(self, name: str) -> tuple[Route, str]:
        key = routing_key(name)
        for pattern, route in self._routes:
            if pattern.matches(key):
                return route, key
        return self._default, key


def topic(event: Event) -> str:
    """Return the topic of an event; see ``topic_of``."""
    return topic_of(event.name, event.entity, event.action)


def topic_of(name: str, entity: str, action: str) -> str:
    """Return ``{entity}.{action}``, or the bare name of an event without a dot."""
    return f"{entity}.{action}" if "." in name else name


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
    return _ILLEGAL.sub(_percent, str.lower(name).encode()).decode("ascii")


def _percent(match: re.Match[bytes]) -> bytes:
    return b"%" + match.group().hex("%").encode()


def shorten(key: str) -> str:
    """Return an encoded key of at most 255 bytes: its start, ``~``, and 16 hex of its SHA-256."""
    if len(key) <= MAX_KEY_BYTES:
        return key
    start = key[:_KEPT_BYTES]
    escape = start.rfind("%", _KEPT_BYTES - 2)
    if escape != -1:  # an escape is three characters, and this one would be split
        start = start[:escape]
    return f"{start}~{hashlib.sha256(key.encode()).hexdigest()[:16]}"


class TopicPattern:
    """A binding's pattern, read as RabbitMQ reads it: ``*`` is one word, ``#`` any number of them.

    Each word of a key costs the same, however many ``#`` there are. Bit n of a number says whether
    the first n words of the pattern can match the words of the key so far.
    """

    def __init__(self, pattern: str) -> None:
        pairs = pairwise(["", *_words(pattern)])
        words = [word for before, word in pairs if not before == word == "#"]  # many are one
        self._matched = 1 << len(words)
        self._any_number = _bits(words, "#")
        self._any_one = _bits(words, "*")
        self._these = {word: _bits(words, word) for word in words if word not in ("#", "*")}

    def matches(self, key: str) -> bool:
        """Return whether a queue that is bound by the pattern gets messages with this key."""
        reached = self._without_a_word(1)
        for word in _words(key):
            taken = reached & (self._any_one | self._these.get(word, 0))
            reached = self._without_a_word(taken << 1 | reached & self._any_number)
        return reached & self._matched != 0

    def _without_a_word(self, reached: int) -> int:
        return reached | (reached & self._any_number) << 1


def _words(text: str) -> list[str]:
    return text.split(".") if text else []


def _bits(words: Sequence[str], wanted: str) -> int:
    return sum(1 << place for place, word in enumerate(words) if word == wanted)
