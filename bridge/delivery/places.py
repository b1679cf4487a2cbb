"""Places that misbehave: what is blamed, how long it is left alone, and when it is trusted again.

A *place* is an exchange and a routing key: the narrowest that says which queues a message is for.
When many keys of one kind of event misbehave, the kind is the place; when an exchange is missing,
the exchange is. Nothing here does anything, or knows a clock: it keeps books.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bridge.core.backoff import silence_pause
from bridge.core.message import Message
from bridge.delivery.share import Share

Why = Literal["refused", "silent", "closes", "gone"]

KEYS_OF_A_KIND = 100
"""Maximum number of keys of one kind of event that are set aside one by one."""

_TRUSTED_AFTER = 64
"""Number of rows confirmed in a run after which a place's pauses begin at a second again."""

_HEADS = 8
"""Number of rows of a place that take turns in being tried: one of them may be the poison."""

Place = tuple[str, str | None, str | None]
"""Exchange, routing key and event type. A kind has no key, an exchange neither key nor type."""


def place_of(message: Message) -> Place:
    """Return the narrowest place of a message: its key."""
    return message.exchange, message.routing_key, message.type


def levels(place: Place) -> tuple[Place, Place, Place]:
    """Return a key with the kind and the exchange that it belongs to."""
    exchange, _, kind = place
    return place, (exchange, None, kind), (exchange, None, None)


@dataclass(slots=True, eq=False)
class Aside:
    """A place that is set aside.

    ``heads`` are rows, by number, that nothing but the place holds up; they are tried in turn.
    ``idle`` is how often there was none.
    While it is ``recovering`` its rows are published again, few at first. ``apart``: a trial of it
    ended with the connection, so the next has one of its own. ``told``: the log says that it has
    had its ``share`` of the disk. ``park_as`` is set when its rows are given up.
    """

    place: Place
    why: Why
    since: float
    failures: int = 0
    idle: int = 0
    confirmed: int = 0
    strikes: int = 0
    recovering: bool = False
    trying: bool = False
    swept: bool = False
    apart: bool = False
    told: bool = False
    park_as: str | None = None
    share: Share = field(default_factory=Share)
    heads: deque[int] = field(default_factory=lambda: deque(maxlen=_HEADS))

    @property
    def name(self) -> str:
        """Return the routing key, or the type of events; nothing for a whole exchange."""
        _, key, kind = self.place
        return kind or "" if key is None else key

    def pause(self) -> float:
        """Return after how many seconds it is tried again."""
        return silence_pause(self.failures + 1, turns=len(self.heads))

    def failures_now(self) -> int:
        """Return how many failures in a run count if it fails now: few if much was confirmed."""
        if self.confirmed >= _TRUSTED_AFTER:
            return 0
        return max(0, self.failures + 1 - self.confirmed.bit_length() // 2)

    def is_at_rest(self) -> bool:
        """Return whether it neither recovers nor is being tried."""
        return not (self.recovering or self.trying)

    def offer(self, seq: int) -> None:
        """Take a row into the turns if there is room."""
        if len(self.heads) < _HEADS and seq not in self.heads:
            self.heads.append(seq)

    def drop(self, seq: int) -> None:
        """Take a row out of the turns."""
        if seq in self.heads:
            self.heads.remove(seq)


class Places:
    """Those that are set aside now."""

    def __init__(self) -> None:
        self._aside: dict[Place, Aside] = {}
        self._keys: Counter[Place] = Counter()
        self._exchanges: dict[str, Aside] = {}
        """Those of them that are whole exchanges."""

    def __len__(self) -> int:
        """Return how many are set aside."""
        return len(self._aside)

    def __iter__(self) -> Iterator[Aside]:
        """Yield those that are set aside."""
        return iter(list(self._aside.values()))

    def __contains__(self, aside: Aside) -> bool:
        """Return whether this one is set aside still."""
        return self._aside.get(aside.place) is aside

    @property
    def exchanges(self) -> list[Aside]:
        """Return the whole exchanges that are set aside: they are looked at all the time."""
        return list(self._exchanges.values())

    def is_gone(self, exchange: str) -> bool:
        """Return whether a whole exchange is set aside, and has not come back since."""
        aside = self._exchanges.get(exchange)
        return aside is not None and not (aside.recovering and aside.park_as is None)

    def of(self, message: Message) -> Aside | None:
        """Return what a message must wait behind."""
        return self.at(place_of(message)) if self._aside else None

    def at(self, place: Place) -> Aside | None:
        """Return what the messages of a key must wait behind."""
        exchange = self._exchanges.get(place[0])
        if exchange is not None and not exchange.recovering:
            return exchange
        return self._judged(place) or exchange

    def gone(self, exchange: str, *, now: float) -> None:
        """Set a whole exchange aside: it is not there, or not any more."""
        known = self._exchanges.get(exchange)
        aside = Aside((exchange, None, None), "gone", now)
        if known is not None:
            aside.share, aside.told = known.share, known.told
        self._exchanges[exchange] = self._aside[aside.place] = aside

    def blame(self, message: Message, why: Why, *, now: float) -> Aside:
        """Set the place of a message aside, or note one failure more if it is already."""
        place, kind, _ = levels(place_of(message))
        aside = self._judged(place)
        if aside is None:
            self._keys[kind] += 1
            many = self._keys[kind] > KEYS_OF_A_KIND
            aside = Aside(kind if many else place, why, now)
            if many:
                self._replace_keys(aside)
            self._aside[aside.place] = aside
        elif aside.recovering:
            aside.failures = aside.failures_now()
            aside.recovering = aside.swept = False
            aside.confirmed = aside.strikes = 0
        return aside

    def forget(self, aside: Aside) -> None:
        """Trust a place again."""
        exchange, key, kind = aside.place
        del self._aside[aside.place]
        if kind is None:
            del self._exchanges[exchange]
        elif key is None:
            self._keys.pop(aside.place, None)
        else:
            self._keys[exchange, None, kind] -= 1
            if self._keys[exchange, None, kind] <= 0:
                del self._keys[exchange, None, kind]

    def _judged(self, place: Place) -> Aside | None:
        """Return the kind or the key, if it misbehaved itself."""
        key, kind, _ = levels(place)
        return self._aside.get(kind) or self._aside.get(key)

    def _replace_keys(self, kind: Aside) -> None:
        """Set a kind aside in place of its keys."""
        for aside in [each for each in self._aside.values() if each.place[1] is not None]:
            if levels(aside.place)[1] == kind.place:
                kind.share.absorb(aside.share)
                del self._aside[aside.place]
