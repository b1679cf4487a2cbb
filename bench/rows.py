"""What is measured, in the order of the report."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import draining, growth, scenarios
from bench.builds import COMPILED
from bench.lab import BUILT_PEERS, NODE_PEERS, Lab
from bench.machine import node_version
from bench.scenarios import Made, Run, built, node, open_loop, ours, publishing, python

NODE_AT_LEAST = 20
"""What Fastify needs."""


def _nothing() -> None:
    """Nothing is missing."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that every round measures once.

    ``run`` returns a sample for each of its parts, such as ``c64`` and ``c256``. ``missing`` says
    why it cannot be measured on this machine, and what to install. ``prepare`` comes once, before
    the first round.
    """

    key: str
    title: str
    run: Run
    missing: Callable[[], str | None] = _nothing
    prepare: Callable[[Lab], Awaitable[object]] | None = None


def _node_missing() -> str | None:
    if not shutil.which("node") or not shutil.which("npm"):
        return "Node is not installed: apt-get install nodejs npm, then repeat make bench"
    if (version := node_version()) < NODE_AT_LEAST:
        return f"Node {version} is too old: install Node {NODE_AT_LEAST} or later and its npm"
    if not (NODE_PEERS / "node_modules").is_dir():
        return f"its packages are not installed: npm ci --omit=dev in {NODE_PEERS}"
    return None


def _not_built(name: str, tool: str) -> Callable[[], str | None]:
    """Return what says why a peer cannot be measured that is a binary."""

    def missing() -> str | None:
        if (BUILT_PEERS / name).exists():
            return None
        if not shutil.which(tool):
            return f"{tool} is not installed"
        return "it is not built: .ci/peers says why"

    return missing


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that publishes what it is sent, ours or a peer; fields are those of a row."""

    key: str
    title: str
    made: Made
    missing: Callable[[], str | None] = _nothing

    @property
    def row(self) -> Row:
        """Return what measures it under closed-loop load."""
        return Row(self.key, self.title, publishing(self.made), self.missing)


NAIVE = Contender("naive", "bare: aiohttp + aio-pika", python("naive"))
FASTIFY = Contender("fastify", "bare: Fastify + amqplib", node("bare"), _node_missing)
GO = Contender("go", "Go: net/http + amqp091-go", built("go"), _not_built("go", "go"))
RUST = Contender("rust", "Rust: axum + lapin", built("rust"), _not_built("rust", "cargo"))
BENTO = Contender("bento", "Bento", scenarios.bento, _not_built("bento", "go"))
BENTO_BUFFERED = Contender(
    "bento-buffered",
    "Bento, 200 from its SQLite buffer",
    scenarios.bento_buffered,
    BENTO.missing,
)
OURS = Contender("ours", "the bridge", ours)
CONTENDERS = (OURS, NAIVE, FASTIFY, GO, RUST, BENTO, BENTO_BUFFERED)
"""Those that go through the faults too."""

INTERPRETED = Contender("ours-interpreted", "the bridge, interpreted", scenarios.interpreted)

HTTP = (
    Row("floor", "floor: aiohttp's web.Server, reads the body and answers", scenarios.answering),
    NAIVE.row,
    Row("faststream", "bare: FastAPI + FastStream", publishing(python("faststream_app"))),
    FASTIFY.row,
    GO.row,
    RUST.row,
    BENTO.row,
    BENTO_BUFFERED.row,
    Row("naive-equal", "equal work: aiohttp + aio-pika", publishing(python("equal"))),
    Row("fastify-equal", "equal work: Fastify + amqplib", publishing(node("equal")), _node_missing),
    OURS.row,
    INTERPRETED.row,
    Row("ours-spooling", "the bridge, broker down", scenarios.spooling),
    Row(
        "ours-slow-disk",
        "the bridge, broker down, fsync 5 ms slower",
        scenarios.spooling_slowly,
        scenarios.has_compiler,
    ),
)
"""Under closed-loop load."""

BROKER = (Row("broker", "RabbitMQ alone", scenarios.broker_alone),)

OPEN = (
    Row("open-ours-1000", "the bridge, 1,000/s", open_loop(ours, 1000)),
    Row("open-ours-5000", "the bridge, 5,000/s", open_loop(ours, 5000)),
    Row(
        "open-naive-equal",
        "equal work: aiohttp + aio-pika, 1,000/s",
        open_loop(python("equal"), 1000),
    ),
    Row(
        "open-fastify-equal",
        "equal work: Fastify + amqplib, 1,000/s",
        open_loop(node("equal"), 1000),
        _node_missing,
    ),
)
"""Latency under a load that does not wait."""

DRAIN = (
    Row("drain", "from the spool, idle", draining.idle, prepare=draining.prepare),
    Row(
        "drain-loaded",
        "from the spool, 500 new events a second",
        draining.loaded,
        prepare=draining.prepare,
    ),
    Row(
        "drain-before",
        "from the spool, idle, the checkout before",
        draining.before,
        prepare=draining.prepare_before,
    ),
)

GROWTH = (
    Row("routes", "1 and 100 routes", growth.configured(growth.routes, 1, 100)),
    Row("endpoints", "1 and 50 endpoints", growth.configured(growth.endpoints, 1, 50)),
    Row("window", "memory of duplicates, fresh and full", growth.window),
    Row("spooled", "events on disk, none and many", growth.spooled, prepare=growth.prepare),
)
"""A near and a far end each."""

BODIES = (Row("bodies", "bodies of 1 kB, 100 kB and 1 MB", growth.bodies),)

ROWS = (*BROKER, *HTTP, *OPEN, *DRAIN, *GROWTH, *BODIES)


def rows_of(*, build: str, against: Path | None) -> list[Row]:
    """Return the rows of a whole run of this build, with or without another checkout."""
    without = set() if build == COMPILED else {"ours-interpreted"}
    without |= set() if against else {"drain-before"}
    return [row for row in ROWS if row.key not in without]


def chosen(names: Sequence[str], rows: Sequence[Row] = ROWS) -> list[Row]:
    """Return the rows with one of these keys, or with such a part in their key; all without."""
    keys = {row.key for row in rows}
    return [row for row in rows if not names or any(_is_meant(row, name, keys) for name in names)]


def _is_meant(row: Row, name: str, keys: set[str]) -> bool:
    return row.key == name if name in keys else name in row.key
