"""An HTTP server that says little: no ``Server`` header, nothing echoed, errors as problems.

aiohttp answers malformed HTTP with the offending bytes in the body, names itself in every response,
decodes compressed bodies before a handler sees them, and takes any number of connections. This
server does none of it. Once a second it looks at all connections and closes those that take too
long, so that a request costs no timer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from aiohttp import web

from bridge.sampling import Sampled
from bridge.web.answers import SERVER_REJECTIONS, Rejection
from bridge.web.connection import Connection
from bridge.web.eviction import chosen
from bridge.web.plain import Plain
from bridge.web.responder import Client
from bridge.web.responses import Handler, rejection_bytes
from bridge.web.turns import Turns

_LOOK_SECONDS = 1.0

_GOODBYE_SECONDS = 1.0
"""How long a closed connection may take to disappear. What was written has to arrive, and a TLS
client that is busy or gone never says its own goodbye."""

_BUSY = rejection_bytes(SERVER_REJECTIONS["connections_refused"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What the clients of one listener may hold: so many ``connections``, and times in seconds.

    ``head`` is the time for the head of a request, from its first byte; for the first request, from
    the connect. ``idle`` is how long a connection may rest between two requests.
    """

    connections: int
    head: float
    idle: float


class HttpServer(web.Server):
    """The connections of one listener, all with one handler, and all within the limits.

    Bodies of more than ``max_body`` bytes raise 413. ``proves`` says whether a 200 proves that the
    client knows a secret. With ``plain`` what is plain takes the plain path.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        max_body: int,
        limits: Limits,
        proves: bool = True,
        plain: Plain | None = None,
    ) -> None:
        super().__init__(cast("Any", handler))
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.max_body = max_body
        self.proves = proves
        self.plain = plain
        self.is_stopping = False
        """Whether each answer from now on is the last one on its connection."""
        self.is_closed = False
        """Whether no further request is taken."""
        self.turns = Turns(self.loop)
        """The turns at which strangers are parsed."""
        self.leaving: set[Connection] = set()
        """Connections that give no more answers, until they are gone."""
        self._open: dict[Connection, asyncio.Transport] = {}
        """All connections that are there, or have a request that is still being answered."""
        self._evicted: list[Connection] = []
        """Those that were told to close since the latest look, with what was still to be sent."""
        self._refused = 0
        self._unfinished = 0
        self._look: asyncio.TimerHandle | None = None
        self._sampled = Sampled()

    def __call__(self) -> Connection:
        """Make the protocol of one connection."""
        return Connection(self)

    @property
    def connections(self) -> list[web.RequestHandler]:
        """Return all connections."""
        return [*self._open]

    @property
    def number_open(self) -> int:
        """Return how many connections hold a place: those that are leaving do not."""
        return len(self._open) - len(self.leaving)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection, if need be in place of another one (``eviction``)."""
        connection = cast("Connection", handler)
        self._open[connection] = transport
        if self.is_closed:  # its TLS handshake took until now
            connection.force_close()
            transport.abort()
            return
        if self.number_open > self.limits.connections and not self.make_room(connection):
            self._refused += 1
            transport.write(_BUSY)
            connection.force_close()
        self._look_soon()

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        """Forget a connection, as soon as its last request is answered too."""
        connection = cast("Connection", handler)
        if connection.is_taken:  # it says itself when that is answered
            return
        if connection.work.done():
            self.forget(connection)
        else:
            connection.work.add_done_callback(lambda _: self.forget(connection))

    def forget(self, connection: Connection) -> None:
        """Forget a connection that is gone, and has nothing to answer."""
        self._open.pop(connection, None)

    def make_room(self, newest: Connection | None = None, *, or_proven: bool = True) -> bool:
        """Close who gives way to the newest connection; return whether anybody does."""
        evicted = chosen(
            (one for one in self._open if one is not newest),
            now=self.loop.time(),
            strangers=self.limits.connections // 32 + 1,
            or_proven=or_proven,
        )
        for one in evicted:
            self._evict(one)
        return bool(evicted)

    def _evict(self, connection: Connection) -> None:
        self._unfinished += 1
        self._evicted.append(connection)
        connection.force_close()

    def note_unfinished(self) -> None:
        """Count a connection that ended, or gave way, before the first byte of a request."""
        self._unfinished += 1
        self._look_soon()

    def _look_soon(self) -> None:
        if self._look is None:
            self._look = self.loop.call_later(_LOOK_SECONDS, self._look_at_all)

    def _look_at_all(self) -> None:
        """Close each connection that takes too long; look again as long as there is any."""
        self._look = None
        self._look_soon()
        # Those evicted at the last look have had a second to send what was written.
        evicted, self._evicted = self._evicted, []
        self._cut(evicted)
        self._hand_over(self.loop.time() - _LOOK_SECONDS)
        since = self.loop.time() - self.limits.head
        for connection in [one for one in self._open if one.is_slow(since)]:
            self._evict(connection)
        self._cut([one for one in self._open if one.is_unread(since)])
        self._log_counts()
        if not self._open and self._look is not None:
            self._look.cancel()
            self._look = None

    def _hand_over(self, since: float) -> None:
        """Leave to aiohttp each request whose body is awaited since before that time."""
        for one in [*self._open]:
            if one.plain is not None and one.plain.missing and one.plain.since <= since:
                one.plain.hand_over()

    def _cut(self, connections: Iterable[Connection]) -> None:
        for one in connections:
            if one in self._open:
                self._open[one].abort()

    def _log_counts(self) -> None:
        if self._unfinished:
            log.info("heads_unfinished", connections=self._unfinished)
        if self._refused:
            log.warning("connections_refused", connections=self._refused)
        self._refused = self._unfinished = 0

    def ends(self, *, of_fresh: bool = False) -> list[asyncio.Future[None]]:
        """Return the ends of all connections, or of those with no request so far, to wait for."""
        there = (one for one in self._open if not one.gone.done())
        return [one.gone for one in there if not of_fresh or (one.is_idle and not one.answered)]

    def close_resting(self) -> None:
        """Close the connections that wait for a request which is not their first."""
        for one in self._open:
            if one.is_idle and one.answered:
                one.close()

    def pre_shutdown(self) -> None:
        """Close the connections that wait for a request. The others answer theirs, then close."""
        # aiohttp's own would close all of them, and drop what is still to come of a body.
        self.is_stopping = self.is_closed = True
        for one in self._open:
            if one.is_idle:
                one.close()

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # aiohttp's
        """Let requests end within so many seconds, cut off the others, and end every connection."""
        # aiohttp's own takes up to twice as long, or for ever if it is told 0, and leaves
        # connections behind that TLS holds on to.
        connections = [*self._open.items()]
        await _wait_for([one.work for one, _ in connections], timeout)
        for one, _ in connections:
            one.work.cancel()
        gone = [one.gone for one, _ in connections]
        await _wait_for([*gone, *(one.work for one, _ in connections)], _GOODBYE_SECONDS)
        for _, transport in connections:
            transport.abort()
        await _wait_for(gone, _GOODBYE_SECONDS)

    def rejection_of(self, client: Client, status: int, error: BaseException | None) -> Rejection:
        """Log why the request of a client was not answered, and return what is answered instead.

        It is malformed HTTP (400), a defect of ours (500), or the end of memory (503).
        """
        lets = self._sampled.lets
        if isinstance(error, MemoryError):
            if lets("memory"):
                log.error("memory_exhausted")
            return SERVER_REJECTIONS["memory_exhausted"]
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if lets("failed"):
                log.error("request_failed", exc_info=error)
            return SERVER_REJECTIONS["request_failed"]
        if lets("malformed"):
            kind = type(error).__name__
            log.warning("request_malformed", remote=client.remote, error=kind)
        return SERVER_REJECTIONS["request_malformed"]


async def _wait_for(ends: Iterable[asyncio.Future[Any]], seconds: float | None) -> None:
    """Return when all of these are done, however they ended, or when the time is over."""
    if waited := set(ends):
        await asyncio.wait(waited, timeout=seconds)
