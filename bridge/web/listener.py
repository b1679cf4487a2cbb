"""A listener: it accepts the connections of one address, and shakes hands where it speaks TLS.

A connection counts from its accept. asyncio's own servers count it from the end of its TLS
handshake, which may never come, and they log nothing when the process has no descriptors left.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import structlog

from bridge.web.eviction import handshake_gives_way
from bridge.web.server import HttpServer
from bridge.web.sockets import bound, is_gone, prepared, reachable

_ACCEPTED_AT_A_TURN = 64
"""Maximum number of connections to accept until the rest of the event loop has its turn.

It is also at most a fourth of the places: clients that come at the same moment must not take all
places from each other. It is less by the number of strangers that wait to be parsed, because the
kernel keeps newcomers at no cost, and a newcomer that we keep waiting looks like a silent one."""

_ACCEPTED_AT_LEAST = 8
"""Number of connections to accept however many wait: one turn can parse at least as many."""

_PAUSE_SECONDS = 0.1
"""How long to accept nothing after the system has refused to give us a connection."""

_SILENT_SECONDS = 60.0
"""How long to wait before the log says again that the system refuses connections."""

_LAST_SECONDS = 0.25
"""How long a stop waits for requests that are on their way: longer than from here to the sender."""

_FIRST_SECONDS = 1.0
"""How long a stop waits for the first request of a connection: who connects is about to send it."""

_GOODBYE_SECONDS = 1.0
"""How long TLS waits for the client's goodbye after ours."""

log = structlog.get_logger()


class Listener:
    """One address. ``port`` becomes the real one if 0 was asked for.

    ``is_open`` tells whether it accepts connections. ``grace`` is how many seconds requests may go
    on after ``stop``. With ``tls`` it speaks https.
    """

    def __init__(
        self,
        server: HttpServer,
        *,
        host: str,
        port: int,
        grace: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._host = host
        self._grace = grace
        self._tls = tls
        self._is_shared = False
        self._sockets: list[socket.socket] = []
        self._handshakes: dict[asyncio.Task[bool], socket.socket] = {}
        """Accepted connections on their way to the server, the oldest first."""
        self._silent_until = 0.0
        self.port = port
        self.is_open = False

    async def start(self, shared: Sequence[socket.socket] = ()) -> None:
        """Bind and accept; raises OSError.

        ``shared`` are sockets that listen already, and still will when this process has ended.
        """
        tls = self._tls is not None
        self._is_shared = bool(shared)
        if shared:
            self._sockets = [prepared(each, tls=tls) for each in shared]
        else:
            self._sockets = await bound(self._host, self.port, tls=tls)
        self.port = self._sockets[0].getsockname()[1]
        self.is_open = True
        for each in self._sockets:
            self._accept_from(each)

    async def stop(self) -> None:
        """Stop accepting, let requests finish for a while, then cut them off.

        Who waits to be accepted is left to the process that has the socket next, or is accepted
        now, because the system resets those connections with the last socket.
        """
        self._stop_listening()
        await self._take_last()
        handshakes = list(self._handshakes)
        for handshake in handshakes:
            handshake.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        self._server.pre_shutdown()
        await self._server.shutdown(self._grace)

    def _stop_listening(self) -> None:
        self.is_open = False
        loop = asyncio.get_running_loop()
        while self._sockets:
            listening = self._sockets.pop()
            loop.remove_reader(listening)
            if not self._is_shared:
                self._accept(listening)
            listening.close()

    async def _take_last(self) -> None:
        """Take one more request from each connection, if it comes soon, and answer it.

        Nobody knows of a connection that rests whether its next request is on its way.
        """
        server = self._server
        server.is_stopping = True
        begun = server.loop.time()
        await self._wait_until(begun + _LAST_SECONDS, server.ends)
        server.close_resting()
        await self._wait_until(begun + _FIRST_SECONDS, partial(server.ends, of_fresh=True))

    async def _wait_until(
        self, end: float, ends: Callable[[], Sequence[asyncio.Future[None]]]
    ) -> None:
        """Wait for connections, and for handshakes, which may become some; at most until then."""
        while (left := end - self._server.loop.time()) > 0:
            waited: list[asyncio.Future[Any]] = [*self._handshakes, *ends()]
            if not waited:
                return
            await asyncio.wait(waited, timeout=left, return_when=asyncio.FIRST_COMPLETED)

    @property
    def url(self) -> str:
        """Return the address as a URL that a client on this machine can use."""
        host = reachable(self._host)
        shown = f"[{host}]" if ":" in host else host
        return f"{'https' if self._tls else 'http'}://{shown}:{self.port}"

    def _accept_from(self, listening: socket.socket) -> None:
        if self.is_open:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        """Accept those who wait, but not all at once."""
        most = min(_ACCEPTED_AT_A_TURN, self._server.limits.connections // 4 + 1)
        for _ in range(max(most - self._server.turns.fresh, min(most, _ACCEPTED_AT_LEAST))):
            try:
                client, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listening, error)
                return
            client.setblocking(False)
            if is_gone(client):
                client.close()
            else:
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        if self._tls:  # else the server has the connection at once, and makes room itself
            self._make_room()
        handshake = asyncio.create_task(self._hand_over(client))
        self._handshakes[handshake] = client
        handshake.add_done_callback(self._note_end)

    async def _hand_over(self, client: socket.socket) -> bool:
        """Shake hands, and give the connection to the server; return whether that worked."""
        seconds = self._server.limits.head if self._tls else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._server,
                client,
                ssl=self._tls,
                ssl_handshake_timeout=seconds,
                ssl_shutdown_timeout=_GOODBYE_SECONDS if self._tls else None,
            )
        except OSError:  # of TLS too: it went away, speaks no TLS, or takes too long
            return False
        return True

    def _note_end(self, handshake: asyncio.Task[bool]) -> None:
        client = self._handshakes.pop(handshake)
        error = None if handshake.cancelled() else handshake.exception()
        if error is not None:
            log.error("request_failed", exc_info=error)
        if handshake.cancelled() or error or not handshake.result():
            self._server.note_unfinished()
            client.close()

    def _make_room(self) -> None:
        """Let another client give way to a handshake, if need be (``eviction``)."""
        server = self._server
        if handshake_gives_way(
            len(self._under_way()),
            server.number_open,
            places=server.limits.connections,
            make_room=server.make_room,
        ):
            self._end_oldest_handshake()

    def _end_oldest_handshake(self) -> None:
        for oldest in self._under_way()[:1]:
            oldest.cancel()

    def _under_way(self) -> list[asyncio.Task[bool]]:
        """Return the handshakes that were not told to end, the oldest first."""
        return [each for each in self._handshakes if not each.cancelling()]

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Stop accepting for a moment: the system would refuse again at once."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._silent_until:
            self._silent_until = loop.time() + _SILENT_SECONDS
            log.error("accept_failed", error=error.strerror, again_in_seconds=_PAUSE_SECONDS)
        self._end_oldest_handshake()
        self._server.make_room(or_proven=False)
        loop.remove_reader(listening)
        loop.call_later(_PAUSE_SECONDS, self._accept_from, listening)
