"""What is measured, in the order of the report."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import draining, growth, scenarios
from bench.lab import NODE_PEERS, Lab
from bench.machine import node_version
from bench.scenarios import Run, node, open_loop, ours, publishing, python

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


HTTP = (
    Row("floor", "floor: aiohttp's web.Server, reads the body and answers", scenarios.answering),
    Row("naive", "bare: aiohttp + aio-pika", publishing(python("naive"))),
    Row("faststream", "bare: FastAPI + FastStream", publishing(python("faststream_app"))),
    Row("fastify", "bare: Fastify + amqplib", publishing(node("bare")), _node_missing),
    Row("naive-equal", "equal work: aiohttp + aio-pika", publishing(python("equal"))),
    Row("fastify-equal", "equal work: Fastify + amqplib", publishing(node("equal")), _node_missing),
    Row("ours", "the bridge", publishing(ours)),
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


def chosen(names: list[str]) -> list[Row]:
    """Return the rows with one of these keys, or with such a part in their key; all without."""
    keys = {row.key for row in ROWS}
    return [row for row in ROWS if not names or any(_is_meant(row, name, keys) for name in names)]


def _is_meant(row: Row, name: str, keys: set[str]) -> bool:
    return row.key == name if name in keys else name in row.key
