"""Sockets: the addresses to listen on, and how many connections the process can have."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from contextlib import suppress
from typing import Any

import structlog

_EVERY_ADDRESS = "::"
"""The address for every interface in IPv6; the bridge listens there in IPv4 as well."""

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What the system says of an address that this machine does not have."""

_BACKLOG = 4096
"""Maximum number of connections that the kernel keeps for us: Linux allows as many by default."""

_KERNEL_BYTES = 64 * 1024
"""Size of the kernel's buffers: for what a client sends, and for what it has not read yet."""

_ENCRYPTED_BYTES = 16 * 1024
"""Size of the first of them with TLS, which decrypts all of it at once: a byte may be a record."""

_OWN_DESCRIPTORS = 100
"""Number of descriptors kept for all but clients: spool, broker, log, certificates, libraries."""

log = structlog.get_logger()


async def bound(host: str, port: int, *, tls: bool = False) -> list[socket.socket]:
    """Return a listening socket for each address of the host; ``::`` is every address, in IPv4 too.

    Raises OSError if there is none, or one of them is taken.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    missing = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, address in {(family, address): None for family, *_, address in found}:
        try:
            sockets.append(_listening(family, address, both=host == _EVERY_ADDRESS, tls=tls))
        except OSError as error:
            # ``localhost`` may have an address of IPv6 though the machine has not.
            if error.errno not in _NOT_HERE:
                for each in sockets:
                    each.close()
                raise
            missing = error
    if not sockets:
        raise missing
    return sockets


def _listening(family: int, address: Any, *, both: bool, tls: bool) -> socket.socket:
    """Return a socket that listens there; ``both`` in IPv6 and IPv4, if the machine has both."""
    both = both and family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    made = socket.create_server(address, family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    return prepared(made, tls=tls)


def prepared(listening: socket.socket, *, tls: bool) -> socket.socket:
    """Return a socket that listens, with the buffers that its clients shall have."""
    received = _ENCRYPTED_BYTES if tls else _KERNEL_BYTES
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, received)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_BYTES)
    listening.setblocking(False)
    return listening


def is_gone(client: socket.socket) -> bool:
    """Return whether a client has hung up already, so that it needs no connection of ours."""
    try:
        return client.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def affordable(wanted: int, *, others: int) -> int:
    """Return how many of the connections ``wanted`` the process has descriptors for.

    ``others`` is how many other connections there may be. The soft limit is raised as far as it
    needs to be. If that is not far enough the log says so, and the bridge takes fewer connections,
    so that it never runs out of descriptors.
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
    """Return the address at which a client on this machine reaches a listener on ``host``."""
    # Every address is IPv4's too, and a container without IPv6 has no ``::1``.
    return "127.0.0.1" if host in ("0.0.0.0", _EVERY_ADDRESS) else host  # noqa: S104
