"""``bridge parked``: deliveries that could not be understood or delivered.

Looking never deletes: messages are got without an acknowledgement, and the broker puts them back
when the channel closes. It puts them back at the end (quorum queues with a delivery limit do that),
so the order is that of their times, and every look is at all of them.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from bridge.cli import broker, output
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.errors import CommandFailed
from bridge.cli.replay import replaying
from bridge.cli.runtime import run
from bridge.connection import connected, safe_url
from bridge.core.message import PARKED
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
    """List what is parked, and why; all of it stays where it is."""
    total, parked = run(_first(_urls(config), limit))
    rows = [_row(index, message) for index, message in enumerate(parked, 1)]
    if as_json:
        messages = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
        output.document({"total": total, "messages": messages})
        return
    output.table(_COLUMNS, rows, flexible="id", overflow="ellipsis")
    output.notice(f"{total} parked, {len(parked)} shown")


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
    """Show one parked message with its headers and its body; it stays where it is."""
    message = run(_find(_urls(config), which))
    properties = broker.properties(message)
    if as_json:
        output.document({**properties, **broker.exact_body(message.body)})
        return
    headers = properties.pop("headers")
    rows = [*properties.items(), *headers.items()]
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
        output.document({**broker.properties(message), **broker.exact_body(message.body)})
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

    A delivery goes the way of a new one, except that its signature was checked when it came; a
    message that its exchange refused goes there again. What fails stays, and the reason is told.
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
    """Which parked messages a command is about."""

    ids: tuple[str, ...]
    reason: str | None

    @classmethod
    def of(cls, ids: list[str] | None, reason: str | None, everything: bool) -> _Choice:
        if bool(ids) == everything:
            raise typer.BadParameter("name ids (their start will do), or --all")
        return cls(tuple(ids or ()), reason)

    def takes(self, message: AbstractIncomingMessage) -> bool:
        if self.reason is not None and message.headers.get("reason") != self.reason:
            return False
        return not self.ids or (message.message_id or "").startswith(self.ids)


async def _replay(settings: Settings, choice: _Choice) -> int:
    """Replay the chosen messages and return how many stay."""
    kept = 0
    async with replaying(settings) as replay:

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
    """Act on each chosen message; remove those for which the action says so, and no other."""
    found = False
    async with _queue(urls) as (total, messages):
        async for message in messages:
            if choice.takes(message):
                found = True
                if await act(message):
                    await message.ack()
    if not found and choice.ids:
        raise CommandFailed(f"none of the {total} parked has such an id: list them")


def _urls(config: Path | None) -> tuple[str, ...]:
    return client_settings(config).broker.connection_urls()


async def _first(urls: Sequence[str], limit: int) -> tuple[int, list[AbstractIncomingMessage]]:
    """Return how many are parked, and the oldest of them."""
    async with _queue(urls) as (total, messages):
        return total, await _oldest(messages, limit)


async def _find(urls: Sequence[str], which: str) -> AbstractIncomingMessage:
    async with _queue(urls) as (total, messages):
        if which.isdecimal():
            found = (await _oldest(messages, int(which)))[int(which) - 1 :]
        else:
            found = [one async for one in messages if (one.message_id or "").startswith(which)]
    if not found:
        raise CommandFailed(f"no index and no id of the {total} parked is {which!r}: list them")
    if len({message.message_id for message in found}) > 1:
        raise CommandFailed(f"{len(found)} of the {total} parked have an id like {which!r}")
    return found[0]


async def _oldest(
    messages: AsyncIterator[AbstractIncomingMessage], count: int
) -> list[AbstractIncomingMessage]:
    oldest: list[AbstractIncomingMessage] = []
    async for message in messages:
        bisect.insort(oldest, message, key=_time)
        del oldest[count:]
    return oldest


def _time(message: AbstractIncomingMessage) -> float:
    """Return when a message was parked; what did not come from the bridge comes first."""
    try:
        return datetime.fromisoformat(str(message.headers.get("time"))).timestamp()
    except ValueError:
        return 0.0


@asynccontextmanager
async def _queue(
    urls: Sequence[str],
) -> AsyncIterator[tuple[int, AsyncIterator[AbstractIncomingMessage]]]:
    """Yield how many are parked, and each of them; in the end all are given back."""
    url = await broker.first_reachable(urls)
    async with connected(url, purpose="parked") as connection:
        channel = await connection.channel(publisher_confirms=False)
        try:
            queue = await channel.declare_queue(PARKED, passive=True)
        except ChannelNotFoundEntity:
            raise CommandFailed(
                f"there is no queue {PARKED} at {safe_url(url)}: the bridge declares it when it"
                " starts, and so does `bridge topology apply`"
            ) from None
        total = queue.declaration_result.message_count or 0
        yield total, _all(queue, total)
        await channel.close()


async def _all(queue: AbstractQueue, count: int) -> AsyncIterator[AbstractIncomingMessage]:
    for _ in range(count):
        if (message := await queue.get(fail=False)) is None:
            return
        yield message


def _row(index: int, message: AbstractIncomingMessage) -> tuple[object, ...]:
    headers = (message.headers.get(name, "") for name in ("reason", "endpoint", "time"))
    return (index, message.message_id or "", *headers, len(message.body))


def _body_lines(body: bytes) -> Iterator[str]:
    """Yield a body as the lines of its text, or as a hex dump."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        for start in range(0, len(body), 16):
            yield f"{start:08x}  {body[start : start + 16].hex(' ')}"
    else:
        yield from map(output.printable, text.split("\n"))
