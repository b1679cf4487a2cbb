"""``bridge listen``: events as a consumer receives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from bridge.broker.errors import safe_url
from bridge.cli import messages, output
from bridge.cli.clients.consumer import Binding, first_reachable, open_subscription
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.errors import CommandFailed
from bridge.cli.runtime import run_until_stopped


def listen(
    patterns: Annotated[
        list[str],
        typer.Argument(
            metavar="PATTERN...",
            help="Topic patterns, such as contact.* or associate.deleted: * is one word,"
            " # any number of words.",
        ),
    ],
    exchange: Annotated[
        str | None,
        typer.Option(help="Default: [broker] exchange of the configuration.", show_default=False),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="End after so many; without it, with Ctrl-C.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print events as they arrive, from a temporary queue.

    The queue is bound to the exchange with each pattern and is gone when the command ends. Exit
    code 1 if that is before --count events have arrived.
    """
    settings = client_settings(config)
    source = exchange or settings.broker.exchange
    bindings = [(source, pattern) for pattern in patterns]
    urls = settings.broker.connection_urls()
    stopped = CommandFailed.exit_code if count else 0
    complete = run_until_stopped(_listen(urls, bindings, count, as_json=as_json), stopped=stopped)
    if count and not complete:
        raise CommandFailed(f"stopped before {count} events had arrived")


async def _listen(
    urls: Sequence[str], bindings: Sequence[Binding], count: int | None, *, as_json: bool
) -> bool:
    """Print messages; return True when ``count`` of them have arrived."""
    url = await first_reachable(urls)
    async with open_subscription(url, bindings) as arrivals:
        where = f"{bindings[0][0]} at {safe_url(url)}"
        output.notice(f"listening for {' '.join(pattern for _, pattern in bindings)} on {where}")
        arrived = 0
        async for message in arrivals:
            messages.show(message, as_json=as_json)
            arrived += 1
            if arrived == count:
                break
    return True
