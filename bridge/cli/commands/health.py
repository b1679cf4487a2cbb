"""``bridge health``: is the bridge alive, or ready? For health checks of containers."""

from __future__ import annotations

import http.client
from typing import Annotated

import typer

from bridge.cli import output
from bridge.cli.context import ConfigOption, client_settings
from bridge.cli.errors import CommandFailed, Unavailable
from bridge.settings import ServerSettings
from bridge.web.sockets import reachable

TIMEOUT_SECONDS = 3.0


def health(
    ready: Annotated[
        bool,
        typer.Option("--ready", help="Ask whether events can be accepted: /readyz, not /healthz."),
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Ask the running bridge whether it is alive, and print its answer.

    Exit code 0 if it is, 1 if its answer is no, 69 if nothing answers at the admin address.
    """
    status, body = _get("/readyz" if ready else "/healthz", client_settings(config).server)
    output.line(output.printable(body))
    if status != http.client.OK:
        raise CommandFailed(f"the bridge answers {status}")


def _get(page: str, server: ServerSettings) -> tuple[int, str]:
    host, port = reachable(server.admin_host), server.admin_port
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", page, headers=_authorization(server))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"no bridge answers at {host} port {port}: {error!r}") from error
    finally:
        connection.close()


def _authorization(server: ServerSettings) -> dict[str, str]:
    token = server.admin_token
    return {"Authorization": f"Bearer {token.get_secret_value().decode()}"} if token else {}
