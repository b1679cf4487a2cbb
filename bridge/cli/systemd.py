"""What systemd gives a service: sockets that listen already, and an address for its news.

The sockets stay open while the service restarts, so nobody is refused meanwhile. Whoever else
starts a bridge can do the same: sd_listen_fds(3) and sd_notify(3) are all there is to it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, MutableMapping
from contextlib import suppress

from bridge.core.errors import ConfigInvalid, Problem

_FIRST = 3
"""Number of the first descriptor that is passed on."""


def sockets(
    environ: MutableMapping[str, str], *, names: Iterable[str]
) -> dict[str, list[socket.socket]]:
    """Take the sockets that were passed to this process, by name.

    Raises ``ConfigInvalid`` for one with another name, or one that does not listen for TCP. The
    variables are removed: they are meant for no other process.
    """
    pid, number, given = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != f"{os.getpid()}" or not number.isdigit():
        return {}
    found: dict[str, list[socket.socket]] = {name: [] for name in names}
    for index, name in enumerate(given.split(":")[: int(number)]):
        if name not in found:
            raise ConfigInvalid([_problem("FileDescriptorName", f"one of {', '.join(found)}")])
        found[name].append(_listening(_FIRST + index))
    return found


def _listening(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    given = socket.socket(fileno=descriptor)
    is_tcp = given.family in (socket.AF_INET, socket.AF_INET6)
    if not is_tcp or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        given.close()
        raise ConfigInvalid([_problem("ListenStream", "a TCP port, with Accept=no")])
    return given


def _problem(key: str, allowed: str) -> Problem:
    return Problem("socket of systemd", key, allowed)


def notify(environ: MutableMapping[str, str], state: str) -> None:
    """Tell systemd, if it wants to know, for instance ``READY=1``."""
    address = environ.get("NOTIFY_SOCKET", "")
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        if address:
            news.setblocking(False)
            news.sendto(state.encode(), address.replace("@", "\0", 1))
