"""``bridge parked``: deliveries that could not be understood or delivered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from aio_pika.abc import AbstractIncomingMessage

from bridge.cli import messages, output
from bridge.cli.clients.parked_queue import Messages, open_parked, scan
from bridge.cli.clients.replay import open_replay
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.errors import CommandFailed
from bridge.cli.runtime import run
from bridge.settings import Settings

app = typer.Typer(
    no_args_is_help=True, help="Deliveries that could not be understood or delivered."
)

_COLUMNS = ("index", "id", "reason", "endpoint", "time", "bytes")


IdsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="As `bridge parked list` shows them; a start will do."),
]
AllOption = Annotated[bool, typer.Option("--all", help="All of them, or all with that reason.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only those parked for this reason.")]


@app.command("list")
def list_parked(
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the oldest first.")] = 20,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the parked messages and why they are parked. They all stay where they are."""
    found = run(scan(_urls(config), limit, _row))
    rows = [(index, *row) for index, row in enumerate(found.oldest, 1)]
    if as_json:
        listed = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        output.document({"total": found.total, "messages": listed})
    else:
        output.table(_COLUMNS, rows, flexible="id", overflow="ellipsis")
    if found.is_partial or not as_json:
        output.notice(str(found))


@app.command()
def show(
    which: Annotated[
        str,
        typer.Argument(
            metavar="ID_OR_INDEX",
            help="As `bridge parked list` shows it; the start of an id will do.",
        ),
    ],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one parked message with its headers and its body. It stays where it is."""
    message = run(_find(_urls(config), which))
    properties = messages.properties(message)
    if as_json:
        output.document({**properties, **messages.exact_body(message.body)})
        return
    headers = properties.pop("headers")
    rows = [*properties.items(), *sorted(headers.items())]  # RabbitMQ changes their order
    output.table(("name", "value"), rows, flexible="value")
    for line in _body_lines(message.body):
        output.line(line)


@app.command()
def export(
    ids: IdsArgument = None,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Print parked messages whole, one JSON object on a line; without ids, all of them."""

    async def write(message: AbstractIncomingMessage) -> bool:
        output.document({**messages.properties(message), **messages.exact_body(message.body)})
        return False

    run(_each(_urls(config), _Choice.of(ids, reason, everything=not ids), write))


@app.command()
def replay(
    ids: IdsArgument = None,
    everything: AllOption = False,
    reason: ReasonOption = None,
    config: ConfigOption = None,
) -> None:
    """Send parked messages through the whole pipeline again; what is confirmed is removed.

    A delivery is treated as a new one, but its signature is not checked again. A message that its
    exchange refused is published there again. What fails stays parked, and the reason is printed.
    """
    kept = run(_replay(client_settings(config), _Choice.of(ids, reason, everything)))
    if kept:
        raise CommandFailed(f"{kept} of the chosen messages stay parked")


@app.command()
def discard(
    ids: IdsArgument = None,
    everything: AllOption = False,
    reason: ReasonOption = None,
    sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Delete parked messages for good; `export` keeps a copy."""
    choice = _Choice.of(ids, reason, everything)
    if not sure:
        typer.confirm("Delete the chosen messages for good?", abort=True)

    async def drop(message: AbstractIncomingMessage) -> bool:
        output.line(f"discarded {message.message_id}")
        return True

    run(_each(_urls(config), choice, drop))


@dataclass(frozen=True, slots=True)
class _Choice:
    """The parked messages that a command is about."""

    ids: tuple[str, ...]
    reason: str | None

    @classmethod
    def of(cls, ids: list[str] | None, reason: str | None, everything: bool) -> _Choice:
        if bool(ids) == everything:
            raise typer.BadParameter("name ids (their start will do), or --all")
        return cls(tuple(ids or ()), reason)

    def matches(self, message: AbstractIncomingMessage) -> bool:
        if self.reason is not None and message.headers.get("reason") != self.reason:
            return False
        return not self.ids or (message.message_id or "").startswith(self.ids)


async def _replay(settings: Settings, choice: _Choice) -> int:
    """Replay the chosen messages and return how many stay parked."""
    kept = 0
    async with open_replay(settings) as replay:

        async def send(message: AbstractIncomingMessage) -> bool:
            nonlocal kept
            problem = await replay.send(message)
            kept += problem is not None
            output.line(
                f"replayed {message.message_id}"
                if problem is None
                else f"kept {message.message_id}: {problem}"
            )
            return problem is None

        await _each(settings.broker.connection_urls(), choice, send)
    return kept


async def _each(
    urls: Sequence[str],
    choice: _Choice,
    act: Callable[[AbstractIncomingMessage], Awaitable[bool]],
) -> None:
    """Call ``act`` with each chosen message, and remove the message if it returns True."""
    found = False
    async with open_parked(urls) as (total, parked):
        async for message in parked:
            if choice.matches(message):
                found = True
                if await act(message):
                    await message.ack()
    if not found and choice.ids:
        raise CommandFailed(f"none of the {total} parked has such an id: list them")


def _urls(config: Path | None) -> tuple[str, ...]:
    return client_settings(config).broker.connection_urls()


async def _find(urls: Sequence[str], which: str) -> AbstractIncomingMessage:
    """Return the message at this index of the list, or the only one whose id starts so."""
    if which.isdecimal():
        found = await scan(urls, int(which), lambda message: message)
        if 0 < int(which) <= len(found.oldest):
            return found.oldest[int(which) - 1]
        raise CommandFailed(f"no index of the {found.total} parked is {which!r}: list them")
    async with open_parked(urls) as (total, parked):
        alike = await _alike(parked, which)
    if not alike:
        raise CommandFailed(f"no index and no id of the {total} parked is {which!r}: list them")
    if len(alike) > 1:
        raise CommandFailed(f"several of the {total} parked have an id like {which!r}")
    return alike[0]


async def _alike(parked: Messages, start: str) -> list[AbstractIncomingMessage]:
    """Return the message with this id, or up to two that start so: two ids are ambiguous."""
    alike: dict[str, AbstractIncomingMessage] = {}
    async for message in parked:
        name = message.message_id or ""
        if name == start:
            return [message]
        if name.startswith(start) and len(alike) < 2:
            alike.setdefault(name, message)
    return [*alike.values()]


def _row(message: AbstractIncomingMessage) -> tuple[object, ...]:
    headers = (message.headers.get(name, "") for name in ("reason", "endpoint", "time"))
    return (message.message_id or "", *headers, len(message.body))


def _body_lines(body: bytes) -> Iterator[str]:
    """Yield a body as the lines of its text, or as a hex dump."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        for start in range(0, len(body), 16):
            yield f"{start:08x}  {body[start : start + 16].hex(' ')}"
    else:
        yield from map(output.printable, text.split("\n"))
