"""How the command ``bridge`` ends: its streams are flushed, and its errors become an exit code."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.cli import output
from bridge.cli.errors import PIPE_CLOSED, OutputClosed, lines
from bridge.cli.runtime import end_in_time
from bridge.core.errors import BridgeError


@contextmanager
def ended_well() -> Iterator[None]:
    """Run a command, which may end the process by ``SystemExit``, and leave nothing unprinted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        yield
    except SystemExit as ended:
        _flush()
        end_in_time(ended.code if isinstance(ended.code, int) else 0)
        raise
    finally:
        _flush()


def told(error: BridgeError | OutputClosed) -> int:
    """Print an error as lines on standard error; return the exit code of the command."""
    if isinstance(error, OutputClosed):
        return PIPE_CLOSED
    for line in lines(error):
        output.notice(f"error: {line}")
    return error.exit_code


def _flush() -> None:
    """Flush what was printed, or drop it: the interpreter would complain of a closed pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
