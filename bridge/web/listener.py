"""One bound address: takes its connections, and shakes hands with them where it speaks TLS.

A connection counts from its accept. asyncio's own servers count it when its TLS handshake is done,
which a client may never do, and say nothing when the process has no descriptors left.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import structlog

from bridge.web.eviction import handshake_gives_way
from bridge.web.server import HttpServer

_EVERY_ADDRESS = "::"
"""The address of IPv6 for every interface; here IPv4's as well."""

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_BACKLOG = 4096
"""Number of connections that the kernel keeps for us: as many as Linux allows by default."""

_ACCEPTED_AT_A_TURN = 64
"""Number of connections taken until everybody else of the event loop has a turn, at most a fourth
of the places: who has come at the same moment must not take them all from each other. While clients
wait to be parsed it is less by their number: the kernel keeps newcomers, which costs nobody."""

_ACCEPTED_AT_LEAST = 8
"""Number of connections taken whoever waits: as many as may be parsed at a turn at least."""

_KERNEL_BYTES = 64 * 1024
"""Size of the kernel's buffers for what a client sends, and for what it has not read yet."""

_PAUSE_SECONDS = 0.1
"""How long nothing is accepted after the system has refused to give us a connection."""

_SILENT_SECONDS = 60.0
"""How long until the log says again that the system refuses connections."""

_GOODBYE_SECONDS = 1.0
"""How long TLS waits for the client's own goodbye, behind ours."""

_OWN_DESCRIPTORS = 100
"""Number of descriptors kept for all but clients: spool, broker, log, certificates, libraries."""

log = structlog.get_logger()


class Listener:
    """One bound address; ``port`` is the real one when 0 was asked for.

    ``is_open`` tells whether new connections are accepted.
    ``grace`` is for how many seconds requests may go on after ``stop``; ``tls`` makes it https.
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
        self._sockets: list[socket.socket] = []
        self._handshakes: dict[asyncio.Task[bool], socket.socket] = {}
        """Connections on their way to the server, the oldest first."""
        self._silent_until = 0.0
        self.port = port
        self.is_open = False

    async def start(self) -> None:
        """Bind and accept; raises OSError."""
        self._sockets = await _bound(self._host, self.port)
        self.port = self._sockets[0].getsockname()[1]
        self.is_open = True
        for each in self._sockets:
            self._accept_from(each)

    async def stop(self) -> None:
        """Stop accepting, let requests finish for a while, then cut them off."""
        self.is_open = False
        loop = asyncio.get_running_loop()
        while self._sockets:
            listening = self._sockets.pop()
            loop.remove_reader(listening)
            listening.close()
        handshakes = list(self._handshakes)
        for handshake in handshakes:
            handshake.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        self._server.pre_shutdown()
        await self._server.shutdown(self._grace)

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
        """Take who waits, but not all at once."""
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
            if _is_gone(client):
                client.close()
                continue
            if self._tls:  # without it the server has the connection at once, and makes room itself
                self._make_room()
            handshake = asyncio.create_task(self._hand_over(client))
            self._handshakes[handshake] = client
            handshake.add_done_callback(self._note_end)

    async def _hand_over(self, client: socket.socket) -> bool:
        """Shake hands, and let the server have the connection; return whether it has it."""
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
        """Return the handshakes that nobody has ended, the oldest first."""
        return [each for each in self._handshakes if not each.cancelling()]

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """Leave it for a moment: the system would say the same again at once."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._silent_until:
            self._silent_until = loop.time() + _SILENT_SECONDS
            log.error("accept_failed", error=error.strerror, again_in_seconds=_PAUSE_SECONDS)
        self._end_oldest_handshake()
        self._server.make_room(or_proven=False)
        loop.remove_reader(listening)
        loop.call_later(_PAUSE_SECONDS, self._accept_from, listening)


async def _bound(host: str, port: int) -> list[socket.socket]:
    """Return a listening socket for each address of the host; ``::`` is every address, of IPv4 too.

    A name may have addresses that this machine has not: ``localhost`` that of IPv6. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, address in {(family, address): None for family, *_, address in found}:
        try:
            sockets.append(_listening(family, address, both=host == _EVERY_ADDRESS))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                _close(sockets)
                raise
            missing = error
    if not sockets:
        raise missing
    return sockets


def _listening(family: int, address: Any, *, both: bool) -> socket.socket:
    """Return a socket that listens there, on IPv6 and IPv4 if the machine has ``both``."""
    both = both and family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    made = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # its clients inherit them
        made.setsockopt(socket.SOL_SOCKET, buffer, _KERNEL_BYTES)
    made.setblocking(False)
    return made


def _is_gone(client: socket.socket) -> bool:
    """Return whether a client has hung up already: thousands may do nothing else."""
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()


def affordable(wanted: int, *, others: int) -> int:
    """Return how many of these connections the process has descriptors for, beside so many others.

    Raises the soft limit as far as that takes. What is still missing is logged: then fewer
    connections are taken, so that descriptors never run out.
    """
    needed = wanted + others + _OWN_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    left = max(soft - others - _OWN_DESCRIPTORS, 1)
    log.warning("descriptors_scarce", limit=soft, needed=needed, connections=left)
    return left


def reachable(host: str) -> str:
    """Return where to call what listens on this address of this machine.

    Every address is IPv4's too, and a container without IPv6 has no ``::1``.
    """
    return "127.0.0.1" if host in ("0.0.0.0", _EVERY_ADDRESS) else host  # noqa: S104
