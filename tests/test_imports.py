"""The import rules of docs/architecture.md, checked on every run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "bridge"

PURE = {
    "__future__", "base64", "binascii", "collections", "dataclasses", "datetime", "enum",
    "functools", "hashlib", "heapq", "hmac", "itertools", "math", "re", "string", "struct", "types",
    "typing", "urllib", "uuid", "orjson",
}  # fmt: skip
"""What the rooms of ``ONLY_PURE`` may import; add to it only in review."""

ONLY_PURE = (
    "core", "superoffice", "contract",
    "web/answers.py", "web/heads.py",
    "delivery/fifo.py", "delivery/records.py", "delivery/rows.py", "delivery/turns.py",
    "delivery/held/closers.py", "delivery/held/timetable.py", "delivery/held/held_rows.py",
    "delivery/held/places.py", "delivery/held/share.py", "delivery/held/shares.py",
    "delivery/held/sweep.py",
    "broker/frames.py", "broker/refusals.py", "broker/renewal.py", "broker/topology.py",
    "broker/window.py",
)  # fmt: skip
"""Rooms and files that decide and do nothing else."""

NOT_PURE = ("contract/rendering.py",)

ONLY_IN = {
    "aiohttp": {"web", "tracing", "cli", "dev"},
    "aio_pika": {"broker", "cli"},
    "aiormq": {"broker"},
    "pamqp": {"broker"},
    "opentelemetry": {"tracing"},
    "prometheus_client": {"exposition"},
    "pydantic": {"settings"},
    "tomllib": {"settings"},
    "typer": {"cli"},
    "rich": {"cli"},
    "sqlite3": {"spool", "disk"},
    "subprocess": {"dev", "cli", "spool"},
}

IMPORT_DEV = {
    "cli/commands/dev.py", "cli/commands/send.py",
    "cli/clients/direct.py", "cli/clients/poster.py", "cli/clients/roundtrip.py",
}  # fmt: skip
"""Files that may import ``bridge.dev``: they start a private broker, or post samples."""

ONLY_STANDARD = {"disk"}
"""Rooms that import nothing but the standard library: a process that starts quickly runs them."""

LAYERS = (
    {"__main__"},
    {"cli"},
    {"reload", "lifecycle"},
    {"service"},
    {"parts"},
    {"tracing", "contract"},
    {"web"},
    {"pipeline", "gauges", "exposition"},
    {"delivery"},
    {"broker", "spool", "settings", "dev", "metrics"},
    {"superoffice", "tls"},
    {"core", "aio", "build", "log", "reading", "sampling", "disk"},
)
"""A room may import those of the rows below it: never one above, nor one of its own row."""

NEVER = {("web", "delivery"), ("web", "spool"), ("web", "broker"), ("delivery", "dev")}
"""What the order of the rows alone would allow."""

RANK = {name: rank for rank, row in enumerate(LAYERS) for name in row}

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path):
    """Return the module or package directly below ``bridge`` that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def is_pure(path):
    """Return whether a file may import only what does nothing."""
    file = path.relative_to(PACKAGE).as_posix()
    return file not in NOT_PURE and (room(path) in ONLY_PURE or file in ONLY_PURE)


def imports(path):
    """Yield every absolute name that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: use absolute imports"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_keep_the_rules(path):
    """Pure stays pure, libraries stay at their edge, and layers point inward."""
    here = room(path)
    for name in imports(path):
        top, *rest = name.split(".")
        if top != "bridge":
            assert top in PURE or not is_pure(path), f"{path.name} must not import {name}"
            assert here in ONLY_IN.get(top, {here}), f"{path.name} must not import {name}"
            assert here not in ONLY_STANDARD or top in sys.stdlib_module_names, path.name
        elif rest and here not in ("__init__", rest[0]) and rest[0] in RANK:
            assert RANK[rest[0]] > RANK[here], f"{path.name} must not import {name}"
            assert (here, rest[0]) not in NEVER, f"{path.name} must not import {name}"


def test_only_commands_for_development_import_dev():
    """The private broker and the samples are for `bridge dev` and `bridge send`."""
    files = [path for path in FILES if room(path) != "dev"]
    found = {path for path in files if any(name.startswith("bridge.dev") for name in imports(path))}

    assert IMPORT_DEV == {path.relative_to(PACKAGE).as_posix() for path in found}


LATER = (
    "typer", "rich", "aiohttp.client", "aiohttp.connector", "aiohttp.web_app", "aio_pika", "aiormq",
    "pamqp", "prometheus_client", "opentelemetry", "multiprocessing",
    "bridge.cli.app", "bridge.cli.commands", "bridge.cli.context", "bridge.dev",
    "bridge.contract.documents", "bridge.broker.session", "bridge.exposition", "bridge.reload",
)  # fmt: skip
"""What `bridge serve` loads after it listens, or never: all of it would hold up every start."""

LISTENING = """
import os, sys
def hook(event, arguments):
    if event == "socket.bind":
        os.write(1, " ".join(sys.modules).encode())
        os._exit(0)
sys.addaudithook(hook)
sys.argv = ["bridge", "serve"]
from bridge.__main__ import main
main()
"""


def test_a_start_loads_only_what_it_needs(tmp_path):
    """By the time that `bridge serve` listens, it has loaded nothing that can wait."""
    found = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=tmp_path,
        env={"PYTHONPATH": str(PACKAGE.parent), "SUPEROFFICE_SECRET": "x"},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = found.stdout.split()

    assert "bridge.service" in loaded
    assert [] == [name for name in loaded if name in LATER]


def test_what_was_left_out_of_a_library_is_there_when_it_is_asked_for():
    """A part of aiohttp that no bridge needs is loaded by who needs it, rich as well."""
    code = """
from bridge.cli.lean import load_less
load_less()
from aiohttp import web
import aiohttp, rich.console, structlog, sys
assert web.Response and not {"aiohttp.client", "aiohttp.web_app"} & set(sys.modules)
print(aiohttp.ClientSession.__name__, web.Application.__name__, aiohttp.web is web)
"""
    command = [sys.executable, "-W", "error", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "ClientSession Application True\n" == found.stdout


def test_every_room_has_a_layer():
    """A new module must find its place in the order."""
    assert set(RANK) == {room(path) for path in FILES} - {"__init__"}


def test_nothing_happens_at_import():
    """Importing every module starts no thread, opens no file of ours and prints nothing."""
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for path in FILES
        if path.name not in {"__main__.py", "supervisor.py"}
    ]
    code = f"""
import builtins, importlib, os, socket, threading
def refuse(*args, **kwargs): raise AssertionError("work at import")
import asyncio, uvloop, aiohttp, aio_pika, typer, rich.console, structlog
import prometheus_client, multiprocessing, opentelemetry.sdk.trace.export
socket.socket.connect = socket.socket.bind = refuse
os.environ = type("Env", (dict,), {{}})(os.environ)
before = threading.active_count()
for name in {names!r}:
    importlib.import_module(name)
assert threading.active_count() == before
"""
    command = [sys.executable, "-W", "error", "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "", "") == (found.returncode, found.stdout, found.stderr)
