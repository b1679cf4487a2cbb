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

Why = Literal["refused", "silent", "closes", "gone"]

KEYS_OF_A_KIND = 100
"""Maximum number of keys of one kind of event that are set aside one by one."""

_TRUSTED_AFTER = 64
"""Number of rows confirmed in a run after which a place's pauses begin at a second again."""

_HEADS = 8
"""Number of rows of a place that take turns in being tried: one of them may be the poison."""

Place = tuple[str, str, str]
"""Exchange, routing key and event type, of which the last one or two may be empty."""


@dataclass(slots=True)
class Share:
    """What some rows take of the disk: ``bytes``, and as many as the present sweep has met."""

    bytes: int = 0
    met: int = 0

    def take(self, size: int, *, again: bool) -> None:
        """Count a row that is passed over, for the first time or again."""
        if again:
            self.met += size
        else:
            self.bytes += size

    def end_sweep(self) -> None:
        """Go by what the sweep has met: some of the rows are gone."""
        self.bytes, self.met = self.met, 0


@dataclass(slots=True, eq=False)
class Aside:
    """A place that is set aside.

    ``heads`` are rows, by number, that nothing but the place holds up; they are tried in turn.
    ``idle`` is how often there was none.
    ``rows`` counts what the latest pass over the disk met. While it is ``recovering`` its rows are
    published again, few at first. ``apart``: a trial of it ended with the connection, so the next
    has one of its own. ``told``: the log says that it has had its
    share of the disk. ``park_as`` is set when its rows are given up.
    """

    place: Place
    why: Why
    since: float
    failures: int = 0
    idle: int = 0
    confirmed: int = 0
    strikes: int = 0
    rows: int = 0
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
        return self.place[1] or self.place[2]

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
        aside = self._aside.get((exchange, "", ""))
        return aside is not None and not (aside.recovering and aside.park_as is None)

    def of(self, message: Message) -> Aside | None:
        """Return what a message must wait behind."""
        if not self._aside:
            return None
        exchange = self._aside.get(_exchange(message))
        if exchange is not None and not exchange.recovering:
            return exchange
        return self._judged(message) or exchange

    def gone(self, exchange: str, *, now: float) -> None:
        """Set a whole exchange aside: it is not there."""
        aside = self._exchanges[exchange] = Aside((exchange, "", ""), "gone", now)
        self._aside[aside.place] = aside

    def blame(self, message: Message, why: Why, *, now: float) -> Aside:
        """Set the place of a message aside, or note one failure more if it is already."""
        aside = self._judged(message)
        if aside is None:
            place, kind = _key(message), _kind(message)
            self._keys[kind] += 1
            if self._keys[kind] > KEYS_OF_A_KIND:
                place = kind
                self._forget_keys(kind)
            aside = self._aside[place] = Aside(place, why, now)
        elif aside.recovering:
            aside.failures = aside.failures_now()
            aside.recovering = aside.swept = False
            aside.confirmed = aside.strikes = 0
        return aside

    def forget(self, aside: Aside) -> None:
        """Trust a place again."""
        if self._aside.pop(aside.place, None) is not None and aside.place[1]:
            kind = (aside.place[0], "", aside.place[2])
            self._keys[kind] -= 1
            if self._keys[kind] <= 0:
                del self._keys[kind]
        elif aside.place[2]:
            self._keys.pop(aside.place, None)
        else:
            self._exchanges.pop(aside.place[0], None)

    def _judged(self, message: Message) -> Aside | None:
        """Return the place of a message, if it misbehaved itself."""
        return self._aside.get(_kind(message)) or self._aside.get(_key(message))

    def _forget_keys(self, kind: Place) -> None:
        for place in [p for p in self._aside if p[1] and (p[0], "", p[2]) == kind]:
            del self._aside[place]


def _exchange(message: Message) -> Place:
    return message.exchange, "", ""


def _kind(message: Message) -> Place:
    return message.exchange, "", message.type


def _key(message: Message) -> Place:
    return message.exchange, message.routing_key or "-", message.type
