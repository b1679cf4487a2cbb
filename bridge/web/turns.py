"""Who is parsed next of the clients that have earned nothing: a few KB of all of them at a turn.

A few KB may be hundreds of heads or chunks, so what anybody may send is parsed in pieces, with
turns of the event loop between them for everybody who has earned more.
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import structlog

PIECE_BYTES = 4096
"""Maximum length of a piece, and how much is parsed at a turn of all clients together."""

LONGEST_SECONDS = 0.001
"""Maximum that counts of the time for a piece: the rest is a busy machine's."""

_FAIR_SECONDS = 0.002
"""How long a client may be parsed before it stands behind all that took less."""

_FEW = 1000
"""Number of clients that may wait whether or not they have gone."""

log = structlog.get_logger()


class Client(Protocol):
    """Who waits to be parsed; ``spent`` is how many seconds that took so far.

    ``waits`` is false as soon as it has gone, or was fed.
    """

    spent: float
    waits: bool

    def feed(self) -> int:
        """Parse the next piece; return its length, 0 if there is none or none may be parsed."""

    def abort(self) -> None:
        """Cut the connection."""


class Turns:
    """The order of those who wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = PIECE_BYTES
        self._is_next_due = False
        self._order = count()
        self._waiting: list[tuple[int, int, Client]] = []
        self._most = _FEW
        """How many may wait until those that have gone are left out."""
        self.fresh = 0
        """How many wait that took little time so far."""

    def take(self, size: int) -> bool:
        """Return whether a piece of this length may be parsed at once."""
        if self._left <= 0:
            return False
        self._use(size)
        return True

    def wait(self, client: Client) -> None:
        """Let a client be fed at a later turn, once.

        Those who took little time go in the order in which they came, so that no number of
        newcomers keeps out one that has more than a piece to say.
        """
        rank = int(client.spent / _FAIR_SECONDS)
        self.fresh += not rank
        heappush(self._waiting, (rank, next(self._order), client))
        if len(self._waiting) > self._most:
            self._leave_out_the_gone()
        self._use(0)

    def _leave_out_the_gone(self) -> None:
        self._waiting = [each for each in self._waiting if each[2].waits]
        heapify(self._waiting)
        self.fresh = sum(not rank for rank, _, _ in self._waiting)
        self._most = max(2 * len(self._waiting), _FEW)

    def _use(self, size: int) -> None:
        self._left -= size
        if not self._is_next_due:
            self._is_next_due = True
            self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._left = PIECE_BYTES
        self._is_next_due = False
        while self._waiting and self._left > 0:
            rank, _, client = heappop(self._waiting)
            self.fresh -= not rank
            if client.waits:
                self._use(_fed(client))


def _fed(client: Client) -> int:
    """Feed a client; return how much it took. Whatever goes wrong ends its connection alone."""
    try:
        return client.feed()
    except Exception as error:  # memory, or a fault of the parser
        client.abort()
        log.error("request_failed", exc_info=error)
        return PIECE_BYTES
