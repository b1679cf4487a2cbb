"""Places that misbehave: which are held, for how long, and when they are trusted again.

A *place* is an exchange and a routing key, because these two say which queues get a message. When
many keys of one kind of event misbehave, the whole kind is held as one place. When an exchange is
missing, the whole exchange is. This module keeps books; it does nothing, and knows no clock.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from bridge.core.backoff import silence_pause
from bridge.core.message import Message
from bridge.delivery.held.share import Share

Why = Literal["refused", "silent", "closes", "gone"]

KEYS_OF_A_KIND = 100
"""Maximum number of keys of one kind of event that are held one by one."""

_TRUSTED_AFTER = 64
"""Number of rows confirmed in a run after which a place's pauses begin at a second again."""

_HEADS = 8
"""Maximum number of rows that are tried for their place in turn: one of them may be the poison."""

Place = tuple[str, str | None, str | None]
"""An exchange, routing key and event type. A kind has no key, an exchange neither key nor type."""


def place_of(message: Message) -> Place:
    """Return the narrowest place of a message, which is its key."""
    return message.exchange, message.routing_key, message.type


def levels(place: Place) -> tuple[Place, Place, Place]:
    """Return a key, and the kind and the exchange that it belongs to."""
    exchange, _, kind = place
    return place, (exchange, None, kind), (exchange, None, None)


@dataclass(slots=True, eq=False)
class HeldPlace:
    """A place that is held.

    ``heads`` are numbers of rows that wait for the place alone. They are tried for it in turn;
    ``idle`` counts how often there was none. While the place is ``recovering`` its rows are
    published again, few at first. ``apart``: a trial ended with the connection, so the next one has
    a connection of its own. ``told``: the log says that the place has used up its ``share`` of the
    disk. ``park_as`` is the reason to park its rows, once they are given up.
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
        """Return the routing key or the type of events; an empty text for a whole exchange."""
        _, key, kind = self.place
        return kind or "" if key is None else key

    def pause(self) -> float:
        """Return the pause in seconds until it is tried again."""
        return silence_pause(self.failures + 1, turns=len(self.heads))

    def failures_now(self) -> int:
        """Return the length of its run of failures if it fails now: short if much was confirmed."""
        if self.confirmed >= _TRUSTED_AFTER:
            return 0
        return max(0, self.failures + 1 - self.confirmed.bit_length() // 2)

    def is_at_rest(self) -> bool:
        """Return whether it is neither recovering nor being tried."""
        return not (self.recovering or self.trying)

    def offer(self, seq: int) -> None:
        """Let a row be tried for the place, if there are few of them."""
        if len(self.heads) < _HEADS and seq not in self.heads:
            self.heads.append(seq)

    def drop(self, seq: int) -> None:
        """Try a row for the place no longer."""
        if seq in self.heads:
            self.heads.remove(seq)


class HeldPlaces:
    """The places that are held now."""

    def __init__(self) -> None:
        self.by_place: dict[Place, HeldPlace] = {}
        self._keys: Counter[Place] = Counter()
        self._exchanges: dict[str, HeldPlace] = {}
        """The whole exchanges among them."""

    def __len__(self) -> int:
        """Return how many places are held."""
        return len(self.by_place)

    def __iter__(self) -> Iterator[HeldPlace]:
        """Yield the places that are held."""
        return iter(list(self.by_place.values()))

    def __contains__(self, held: HeldPlace) -> bool:
        """Return whether this place is still held."""
        return self.by_place.get(held.place) is held

    @property
    def exchanges(self) -> list[HeldPlace]:
        """Return the whole exchanges that are held: the drain looks at them all the time."""
        return list(self._exchanges.values())

    def is_missing(self, exchange: str) -> bool:
        """Return whether a whole exchange is held, and has not come back since."""
        held = self._exchanges.get(exchange)
        return held is not None and not (held.recovering and held.park_as is None)

    def of(self, message: Message) -> HeldPlace | None:
        """Return the held place of a message, if its place is held."""
        return self.at(place_of(message)) if self.by_place else None

    def at(self, place: Place) -> HeldPlace | None:
        """Return the held place that a key belongs to, if there is one."""
        exchange = self._exchanges.get(place[0])
        if exchange is not None and not exchange.recovering:
            return exchange
        return self._judged(place) or exchange

    def hold_exchange(self, exchange: str, *, now: float) -> None:
        """Hold a whole exchange, because it is missing."""
        known = self._exchanges.get(exchange)
        held = HeldPlace((exchange, None, None), "gone", now)
        if known is not None:
            held.share, held.told = known.share, known.told
        self._exchanges[exchange] = self.by_place[held.place] = held

    def blame(self, message: Message, why: Why, *, now: float) -> HeldPlace:
        """Hold the place of a message; if it was held and recovering, it no longer is."""
        place, kind, _ = levels(place_of(message))
        held = self._judged(place)
        if held is None:
            self._keys[kind] += 1
            many = self._keys[kind] > KEYS_OF_A_KIND
            held = HeldPlace(kind if many else place, why, now)
            if many:
                self._replace_keys(held)
            self.by_place[held.place] = held
        elif held.recovering:
            held.failures = held.failures_now()
            held.recovering = held.swept = False
            held.confirmed = held.strikes = 0
        return held

    def forget(self, held: HeldPlace) -> None:
        """Trust a place again."""
        exchange, key, kind = held.place
        del self.by_place[held.place]
        if kind is None:
            del self._exchanges[exchange]
        elif key is None:
            self._keys.pop(held.place, None)
        else:
            self._keys[exchange, None, kind] -= 1
            if self._keys[exchange, None, kind] <= 0:
                del self._keys[exchange, None, kind]

    def _judged(self, place: Place) -> HeldPlace | None:
        """Return the kind or the key, if it is held for what it did itself."""
        key, kind, _ = levels(place)
        return self.by_place.get(kind) or self.by_place.get(key)

    def _replace_keys(self, kind: HeldPlace) -> None:
        """Hold a kind instead of its keys."""
        for held in [each for each in self.by_place.values() if each.place[1] is not None]:
            if levels(held.place)[1] == kind.place:
                kind.share.absorb(held.share)
                del self.by_place[held.place]
