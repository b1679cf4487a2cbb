"""Structured logs: every record has an ``action``, one of a fixed vocabulary, and its context.

Bodies, secrets and signatures are never logged; of the headers only the event id is. Texts that a
sender chose are escaped, whatever is not printable in them, so that no input can forge or colour a
line, or reorder what is seen of it.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import MutableMapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Literal, TextIO, cast

import orjson
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

NOISY_LIBRARIES = ("aiormq", "aio_pika", "aiohttp")
"""They log what the bridge reports in its own words."""

log = structlog.get_logger()


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["json", "console"],
    stream: TextIO | None = None,
    waits: bool = True,
) -> None:
    """Set up logging for the process; ``stream`` is the standard error stream if not given.

    Unless it ``waits``, who logs never waits for the reader of the stream: a thread writes, and
    lines beyond a bound are dropped and counted. The same holds for whatever the process writes to
    its standard error stream from then on: warnings, tracebacks, and why it ends.
    """
    stream = stream or sys.stderr
    target = _Unfailing(stream) if waits or not _is_file(stream) else _Beside(stream)
    if not waits and _is_file(sys.stderr):
        sys.stderr = cast("TextIO", _Beside(sys.stderr))
    for name in NOISY_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("action"),
            _console if format == "console" else _json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", target)),
        cache_logger_on_first_use=False,
    )


def set_level(level: Literal["debug", "info", "warning", "error"]) -> None:
    """Log from this level up from now on; loggers that were bound before keep theirs."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]))


class _Forward(logging.Handler):
    """Puts what libraries log into the same stream and form."""

    def emit(self, record: logging.LogRecord) -> None:
        name, text, trace = record.name, record.getMessage(), record.exc_info
        if record.levelno >= logging.ERROR:
            log.error("library_message", library=name, text=text, exc_info=trace)
        else:
            log.warning("library_message", library=name, text=text, exc_info=trace)


class _Unfailing:
    """A stream that drops what cannot be written: no event is lost to a full disk of the log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


_QUEUED_BYTES = 1024 * 1024
"""Maximum size in characters of lines that wait for the reader of the log."""

_LAST_SECONDS = 1.0
"""How long the end of the process waits for lines that are still to be written."""


_beside: list[_Beside] = []


def _is_file(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def wait() -> None:
    """Wait until all that was logged is written, for a reader that stands still only a moment."""
    for stream in _beside:
        stream.wait()


class _Beside:
    """Writes on a thread of its own: a reader that stands still must not hold up the event loop."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._file = stream.fileno()
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._begun = ""
        self._size = 0
        self._dropped = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.wait)
        _beside.append(self)

    def write(self, text: str) -> int:
        """Hand the text over as soon as its line is complete, or drop it."""
        with self._lock:
            self._begun += text
            if not self._begun.endswith("\n"):
                return len(text)
            whole, self._begun = self._begun, ""
            if self._size >= _QUEUED_BYTES:
                self._dropped += 1
                return len(text)
            self._size += len(whole)
            self._lines.put(whole)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the thread writes at once."""

    def isatty(self) -> bool:
        """Return whether people see it as it comes."""
        return os.isatty(self._file)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file

    def wait(self) -> None:
        """Do as ``wait`` of the module for this stream."""
        end = time.monotonic() + _LAST_SECONDS
        while self._size and time.monotonic() < end:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            text = self._lines.get()
            written = _write(self._file, text.encode(errors="backslashreplace"))
            with self._lock:
                self._size -= len(text)
                self._dropped += not written
                told = self._dropped if written and self._size < _QUEUED_BYTES // 2 else 0
                self._dropped -= told
            if told:  # only now is there somebody who reads it
                log.warning("log_lines_dropped", lines=told)


def _write(file: int, left: bytes) -> bool:
    """Write all of it, however long that takes; return whether that was possible."""
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # somebody else made it so, and whoever shares the file may
            poll = select.poll()
            poll.register(file, select.POLLOUT)
            poll.poll()
        except OSError:
            return False
    return True


def _json(logger: object, method: str, record: MutableMapping[str, Any]) -> str:
    ordered = {key: record.pop(key) for key in ("timestamp", "level", "action")} | dict(record)
    with suppress(orjson.JSONEncodeError):  # bytes of a header that are no text
        line = orjson.dumps(ordered, default=str).decode()
        if line.isprintable():
            return line
    # JSON may hold what terminals obey and editors break lines at, such as U+009B and U+2028.
    return json.dumps(ordered, default=str, separators=(",", ":"))


def _console(logger: object, method: str, record: MutableMapping[str, Any]) -> str:
    time, level, action = (record.pop(key) for key in ("timestamp", "level", "action"))
    trace = record.pop("exception", None)
    context = " ".join(f"{key}={_shown(value)}" for key, value in record.items())
    line = f"{time[11:19]} {level:<7} {action} {context}".rstrip()
    # Indented, so that no line of an error's text can pass for a record.
    return "\n    ".join([line, *map(_printable, trace.split("\n"))]) if trace else line


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def _printable(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
