"""Who gives way when there is no place for one more client. All three answers are here.

==================================  ================================================================
All places are taken, and a client  ``chosen``: some strangers; if there are none, the connection
connects                            that has rested longest. If every client has a whole request
                                    under way, nobody gives way, and the new client gets 503.
A client begins a TLS handshake     ``handshake_gives_way``: the oldest handshake, as soon as half
                                    of the places shake hands, or nobody else gives way.
The system has no descriptor left   The oldest handshake, and ``chosen`` among strangers alone: an
                                    authentic sender is not to blame for it.
==================================  ================================================================

A *stranger* is a client that has never earned a 200: whoever knows no secret stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Protocol, TypeVar

_ARRIVAL_SECONDS = 0.5
"""How long a new client may take for its first bytes before it counts as silent, and goes first."""


class Phase(Enum):
    """What a connection is doing. Its protocol derives it, so no code sets it."""

    HEAD = "awaits the end of a request's head"  # -> ANSWERING, LEAVING
    RESTING = "awaits the first byte of another request"  # -> HEAD, ANSWERING, LEAVING
    ANSWERING = "has a request at hand"  # -> LINGERING, RESTING, LEAVING
    LINGERING = "drops the rest of a body that was answered early"  # -> ANSWERING, RESTING, LEAVING
    LEAVING = "gives no more answers, but has not sent all of them yet"


# Python 3.11 calls a function for each ``Phase.HEAD``, and a choice looks at thousands of clients.
HEAD, RESTING, ANSWERING, LINGERING, LEAVING = Phase


class Client(Protocol):
    """A connection, as far as the choice looks at it."""

    earned_200: bool
    """Whether any of its requests was answered 200."""
    answered: bool
    """Whether any of its requests was answered."""
    rests_since: float
    """When its latest answer was sent; before that, when it connected."""
    head_began: float | None
    """When the head that is on its way began; None if there is none."""

    @property
    def phase(self) -> Phase:
        """Return what it is doing."""

    @property
    def owes(self) -> bool:
        """Return whether its request lacks some of the body, or has others behind it already."""

    def is_silent(self, since: float) -> bool:
        """Return whether its head began before that time, and we wait for the client alone."""


AnyClient = TypeVar("AnyClient", bound=Client)


def chosen(
    clients: Iterable[AnyClient], *, now: float, strangers: int, or_proven: bool
) -> list[AnyClient]:
    """Return who gives way: at most so many ``strangers``, else the one that rests longest.

    Several strangers go at a time, because to find them costs a look at all connections. Without
    ``or_proven`` strangers go, or nobody.
    """
    some = [client for client in clients if _may_go(client)]
    lot, number = [client for client in some if not _is_proven(client)], strangers
    if not lot and or_proven:
        lot, number = some, 1
    silent_since = now - _ARRIVAL_SECONDS
    return sorted(lot, key=lambda client: _merit(client, silent_since))[:number]


def _may_go(client: Client) -> bool:
    """Return whether a client can lose its place: no whole request of it is being answered.

    A stranger can also lose it while it owes a part of its request, or sends on and on: no
    authentic sender does that.
    """
    if client.phase is ANSWERING:
        return not client.earned_200 and client.owes
    return client.phase is not LEAVING


def _is_proven(client: Client) -> bool:
    """Return whether a client has earned a 200 and is not wasting our time with a dead body."""
    return client.earned_200 and client.phase is not LINGERING


def _merit(client: Client, silent_since: float) -> tuple[bool, bool, float]:
    """Return the order in which clients go: the smallest first.

    A newcomer without an answer goes after strangers that ask on and on. A client that says nothing
    goes before one that rests, and the longest goes first.
    """
    is_new = not client.answered and client.rests_since > silent_since
    since = client.rests_since if client.head_began is None else client.head_began
    return is_new, not client.is_silent(silent_since), since


def handshake_gives_way(
    handshakes: int, connections: int, *, places: int, make_room: Callable[[], bool]
) -> bool:
    """Return whether the oldest handshake gives way to a new one.

    A handshake has cost its client nothing yet. So handshakes never take more than half of the
    places, however many there are. Below that, connections give way first (``make_room``).
    """
    if handshakes * 2 >= places:
        return True
    return handshakes + connections >= places and not make_room()
