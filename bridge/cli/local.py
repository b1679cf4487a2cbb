"""Settings for a bridge that only this machine can reach."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping

from bridge.cli import output
from bridge.cli.context import SECRET, is_set, overlaid
from bridge.cli.errors import Unavailable
from bridge.settings import Settings

LOOPBACK = "127.0.0.1"


def local_environ(environ: Mapping[str, str], broker: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a bridge on the loopback interface, with a random secret."""
    variables = {
        **broker,
        "BRIDGE_SERVER__HOST": LOOPBACK,
        "BRIDGE_SERVER__ADMIN_HOST": LOOPBACK,
    }
    if not is_set(environ, SECRET) and f"{SECRET}_FILE" not in environ:
        variables[SECRET] = secrets.token_urlsafe()
    return overlaid(environ, variables)


def on_free_ports(settings: Settings) -> Settings:
    """Replace busy ports by the next free ones, and print which."""
    server = settings.server
    public = _free(server.port, others={server.admin_port} - {server.port})
    admin = _free(server.admin_port, others={public})
    for asked, found in ((server.port, public), (server.admin_port, admin)):
        if found != asked:
            output.line(f"port {asked} is busy: using {found}")
    moved = server.model_copy(update={"port": public, "admin_port": admin})
    return settings.model_copy(update={"server": moved})


def _free(port: int, *, others: set[int]) -> int:
    if port == 0:  # any free one
        return 0
    candidates = (found for found in range(port, 65_536) if found not in others)
    free = (found for found in candidates if _is_free(found))
    if (found := next(free, None)) is None:
        raise Unavailable(f"no free port from {port} on: choose a lower one in [server]")
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
