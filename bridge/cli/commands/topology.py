"""``bridge topology``: the exchanges, queues and bindings of the configuration, in the broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import typer

from bridge.broker import topology_check
from bridge.broker.topology import Exchange, Mode, Queue, Report, Topology
from bridge.cli import output
from bridge.cli.clients.consumer import first_reachable
from bridge.cli.context import ConfigOption, JsonOption, client_settings
from bridge.cli.errors import mismatched
from bridge.cli.runtime import run
from bridge.parts import topology_of
from bridge.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="What the configuration asks of the broker, and whether it is there.",
)

_Wrong = Mapping[tuple[str, str], str]
_STATES = {
    "NOT_FOUND": "missing",
    "PRECONDITION_FAILED": "different",
    "no answer": "not answered",
}


@app.command()
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look whether all exchanges and queues are there; nothing is declared.

    AMQP tells only that an object exists, not how it was declared or bound; `apply` finds out.
    """
    _run(config, "verify", as_json=as_json)


@app.command()
def apply(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Declare all exchanges, queues and bindings; those that are there stay as they are."""
    _run(config, "declare", as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Item:
    kind: str
    name: str
    asked: str
    state: str


def _run(config: Path | None, mode: Mode, *, as_json: bool) -> None:
    settings = client_settings(config)
    asked = topology_of(settings)
    report = run(_check(settings, asked, mode))
    items = list(_items(asked, report, mode))
    if as_json:
        mismatches = [asdict(mismatch) for mismatch in report.mismatches]
        objects = [asdict(item) for item in items]
        output.document({"ok": not mismatches, "objects": objects, "mismatches": mismatches})
    else:
        rows = [(item.kind, item.name, item.asked, item.state) for item in items]
        output.table(("kind", "name", "asked for", "state"), rows, flexible="asked for")
    if report.mismatches:
        raise mismatched(report.mismatches)


async def _check(settings: Settings, asked: Topology, mode: Mode) -> Report:
    url = await first_reachable(settings.broker.connection_urls())
    return await topology_check.check(url, asked, mode=mode)


def _items(asked: Topology, report: Report, mode: Mode) -> Iterator[_Item]:
    wrong: _Wrong = {(found.kind, found.name): _state(found.found) for found in report.mismatches}
    for exchange in asked.exchanges:
        yield _exchange_item(exchange, wrong)
    for queue in (*asked.quarantines, *asked.queues):
        yield from _queue_items(queue, wrong, mode)


def _exchange_item(exchange: Exchange, wrong: _Wrong) -> _Item:
    state = wrong.get(("exchange", exchange.name), "there")
    return _Item("exchange", exchange.name, f"{exchange.type}, durable", state)


def _queue_items(queue: Queue, wrong: _Wrong, mode: Mode) -> Iterator[_Item]:
    """Yield the queue and its bindings. AMQP can declare a binding, but not look at one."""
    arguments = ", ".join(f"{name}={value}" for name, value in queue.all_arguments.items())
    state = wrong.get(("queue", queue.name), "there")
    yield _Item("queue", queue.name, f"durable, {arguments}", state)
    otherwise = "there" if mode == "declare" and state == "there" else "not visible"
    for key in queue.bindings:
        name = f"{queue.name} <- {queue.exchange} {key}"
        yield _Item("binding", name.rstrip(), "", wrong.get(("binding", name), otherwise))


def _state(found: str) -> str:
    return next((state for code, state in _STATES.items() if code in found), "refused")
