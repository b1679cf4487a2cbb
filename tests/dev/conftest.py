"""Fixtures of the tests of the private RabbitMQ node and of its supervisor."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bridge

ROOT = Path(bridge.__file__).parents[1]


def processes_of(directory: Path) -> set[int]:
    """Return the pids of other processes that name a directory in arguments or environment."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if os.fsencode(directory) in text:
                found.add(int(process.name))
    return found - {os.getpid()}


def wait_until(condition: Callable[[], Any], *, seconds: float = 10.0) -> None:
    """Return when the condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        time.sleep(0.02)


@contextlib.contextmanager
def owner(script: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script with the directory on its stdin and yield once it has printed a line.

    The directory is not in its arguments: only what it starts there shall carry the name.
    """
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{directory}\n")
        process.stdin.flush()
        try:
            assert process.stdout.readline()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # and its forks


@pytest.fixture
def home(tmp_path):
    """Return a directory with a name that no other test's processes carry; fail if it is left."""
    yield tmp_path
    assert set() == processes_of(tmp_path)
    assert [] == list(tmp_path.iterdir())
