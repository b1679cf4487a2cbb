"""Reading the configuration within a time limit, or naming the file that takes longer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from typing import TypeVar

from bridge.aio import start_thread
from bridge.cli import output
from bridge.cli.errors import Unread
from bridge.reading import slowest_file

_Result = TypeVar("_Result")

_SLOW_SECONDS = 1.0
"""How long to wait before we print that a file is slow."""

_READ_SECONDS = 10.0
"""How long to wait before we give up: a disk may hang, and a pipe may never be written to."""


def read_in_time(
    read: Callable[[], _Result], *, is_slow: Callable[[], object] = lambda: None
) -> _Result:
    """Return what ``read`` returns, or raise what it raises; ``Unread`` if it takes too long.

    ``is_slow`` is called once if it takes longer than a moment. A thread that reads cannot be
    stopped: it is left behind.
    """
    reading = start_thread(read, name="configuration")
    if not wait([reading], timeout=_SLOW_SECONDS).done:
        is_slow()
        output.notice(f"warning: {_file()} has not been read for {_SLOW_SECONDS:g} s: waiting")
        if not wait([reading], timeout=_READ_SECONDS - _SLOW_SECONDS).done:
            raise Unread(
                f"{_file()} could not be read within {_READ_SECONDS:g} s: see whether its disk"
                " hangs, or it is a pipe, and start again"
            )
    return reading.result()


def _file() -> str:
    return str(slowest_file() or "the configuration")
