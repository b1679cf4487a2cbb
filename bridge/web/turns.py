"""Turns: the order in which strangers are parsed, a few KB of all of them at each turn of the loop.

A stranger is a client that has not earned a 200 yet. A few KB can hold hundreds of heads or chunks.
Between two turns the event loop serves everybody who has earned one.
"""

from __future__ import annotations

import asyncio
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import structlog

PIECE_BYTES = 4096
"""Maximum length of a piece, and of all pieces that are parsed at one turn."""

LONGEST_SECONDS = 0.001
"""Maximum time that counts for one piece. If parsing took longer, the machine was busy."""

_FAIR_SECONDS = 0.002
"""How long a client can be parsed in all before it stands behind those that took less."""

_FEW = 1000
"""Length up to which the line may hold clients that have gone: below it, looking costs more."""

log = structlog.get_logger()


class Client(Protocol):
    """A client that waits to be parsed. ``spent`` is how many seconds that has taken so far.

    ``waits`` becomes false when the client is gone, or is fed.
    """

    spent: float
    waits: bool

    def feed(self) -> int:
        """Parse the next piece; return its length, 0 if nothing was parsed."""

    def abort(self) -> None:
        """Cut the connection."""


class Turns:
    """The clients that wait, as a heap: by time spent, then in the order in which they came."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = PIECE_BYTES
        self._is_next_due = False
        self._order = count()
        self._waiting: list[tuple[int, int, Client]] = []
        self._most = _FEW
        """Length of the heap at which those that have gone are taken out."""
        self.fresh = 0
        """How many of those that wait have taken little time so far."""

    def reserve(self, size: int) -> bool:
        """Take a part of this turn; return whether there was any left."""
        if self._left <= 0:
            return False
        self._use(size)
        return True

    def wait(self, client: Client) -> None:
        """Let a client be fed once, at a later turn."""
        # The rank is coarse on purpose. Clients that took little time go in the order in which they
        # came; by the exact time, newcomers without end would go before one with a long request.
        rank = int(client.spent / _FAIR_SECONDS)
        self.fresh += not rank
        heappush(self._waiting, (rank, next(self._order), client))
        if len(self._waiting) > self._most:
            self._leave_out_the_gone()
        self._use(0)  # so that a next turn comes

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
    """Feed a client; return how much it took. If that fails, cut the connection of that client."""
    try:
        return client.feed()
    except Exception as error:  # memory, or a fault of the parser
        client.abort()
        log.error("request_failed", exc_info=error)
        return PIECE_BYTES
