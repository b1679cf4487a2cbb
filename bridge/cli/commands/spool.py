"""``bridge spool``: what waits on disk. Only reads, whether the service runs or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge import spool
from bridge.cli import output
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.messages import exact_body
from bridge.core.times import rfc3339
from bridge.spool import Row

app = typer.Typer(no_args_is_help=True, help="What waits on disk for the broker.")

_COLUMNS = ("seq", "accepted", "tries", "exchange", "routing_key", "id", "bytes")

AfterOption = Annotated[
    int, typer.Option(min=0, metavar="SEQ", help="Start behind this number, for the next page.")
]


@app.command()
def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show how much waits, and for how long."""
    path = _path(config)
    totals = asdict(spool.totals(path))
    if as_json:
        output.document({"path": str(path), **totals})
        return
    output.table(("name", "value"), [("path", path), *totals.items()], flexible="value")


@app.command("list")
def list_spooled(
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the oldest first.")] = 20,
    after: AfterOption = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what waits, the oldest first, a page at a time."""
    page = [_summary(row) for row in spool.rows(_path(config), after=after, limit=limit)]
    if as_json:
        output.document([dict(zip(_COLUMNS, row, strict=True)) for row in page])
        return
    output.table(_COLUMNS, page, flexible="id", overflow="ellipsis")
    if len(page) == limit:
        output.notice(f"for the next page: --after {page[-1][0]}")


@app.command()
def export(
    after: AfterOption = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    config: ConfigOption = None,
) -> None:
    """Print every event whole, one JSON object on a line; all of them stay where they are."""
    for row in spool.rows(_path(config), after=after, limit=limit):
        output.document(_whole(row))


def _path(config: Path | None) -> Path:
    return client_settings(config).spool.path


def _summary(row: Row) -> tuple[object, ...]:
    message = row.message
    target = (message.exchange, message.routing_key, message.message_id)
    return (row.seq, _time(row.accepted_at), row.tries, *target, len(message.body))


def _whole(row: Row) -> Mapping[str, Any]:
    message = row.message
    return {
        "seq": row.seq,
        "accepted": _time(row.accepted_at),
        "tries": row.tries,
        "exchange": message.exchange,
        "routing_key": message.routing_key,
        "message_id": message.message_id,
        "type": message.type,
        "content_type": message.content_type,
        "timestamp": message.timestamp,
        "headers": dict(message.headers),
        **exact_body(message.body),
    }


def _time(seconds: float) -> str:
    return rfc3339(round(seconds * 1_000_000) * 1000)
