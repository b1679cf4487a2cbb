"""The output of commands: tables on a terminal, tabs without one, JSON for programs.

rich is imported where a terminal needs it: ``bridge serve`` never does, and starts without it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from bridge.cli.errors import OutputClosed

if TYPE_CHECKING:
    from rich.console import Console, OverflowMethod, RenderableType
    from rich.progress import Progress, ProgressColumn

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_terminal() -> bool:
    """Return whether people read what the command prints."""
    return sys.stdout.isatty()


def line(text: str, *, style: str = "") -> None:
    """Print one line, whatever its length; ``style`` is for a terminal."""
    if not (style and is_terminal()):
        _write(text)
        return
    from rich.text import Text

    _write(_rendered(Text(text, style=style)))


def notice(text: str) -> None:
    """Print a line for people to standard error, beside the output proper."""
    with suppress(OSError):  # a notice that cannot be printed must not fail the command
        print(text, file=sys.stderr, flush=True)


def document(content: object) -> None:
    """Print one JSON document on one line, in ASCII."""
    _write(json.dumps(content, default=_plain))


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    flexible: str,
    overflow: OverflowMethod = "fold",
) -> None:
    """Print a table; without a terminal only its rows, with tabs between the cells.

    The ``flexible`` column gives way where the terminal is too narrow.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    if not is_terminal():
        for row in cells:
            _write("\t".join(row))
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        grid.add_column(name, no_wrap=name != flexible, overflow=overflow)
    for row in cells:
        grid.add_row(*map(Text, row))
    _write(_rendered(grid))


def progress(*columns: ProgressColumn, stream: TextIO, shown: bool = True) -> Progress:
    """Return a display of progress; it shows nothing if the stream is not a terminal."""
    from rich.progress import Progress

    disable = not (shown and stream.isatty())
    return Progress(*columns, console=_console(stream), transient=True, disable=disable)


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show that something takes its time, with a clock if there is a terminal."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    if not is_terminal():
        line(f"{text} ...")
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress(*columns, stream=sys.stdout) as display:
        display.add_task(text, total=None)
        yield


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped: a terminal would obey them."""
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _rendered(content: RenderableType) -> str:
    from rich.text import Text

    console = _console(sys.stdout)
    with console.capture() as capture:
        console.print(content, soft_wrap=isinstance(content, Text))
    return capture.get().removesuffix("\n")


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, force_terminal=stream.isatty(), highlight=False)


def _write(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise OutputClosed from None


def _plain(value: object) -> Any:
    """Return a value that JSON cannot hold as text: AMQP headers may have bytes and times."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).decode(errors="backslashreplace")
    return str(value)
