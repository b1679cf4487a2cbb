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
    target = _Unfailing(stream) if waits or not _is_file(stream) else _beside_of(stream)
    if not waits and _is_file(sys.stderr):
        sys.stderr = cast("TextIO", _beside_of(sys.stderr, target))
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
        logger_factory=lambda *_: _Lines(target),
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


class _Lines:
    """Writes each record whole, without a lock: a finalizer may log in the middle of it."""

    def __init__(self, stream: _Unfailing | _Beside) -> None:
        self._stream = stream

    def write(self, record: str) -> None:
        self._stream.write(f"{record}\n")
        self._stream.flush()

    debug = info = warning = error = critical = write


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


_PAUSE_SECONDS = 0.1
"""After a line that could not be written because of an error that nobody expected."""

_beside: list[_Beside] = []


def _is_file(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _beside_of(stream: TextIO, other: object = None) -> _Beside:
    """Return what writes to a stream on a thread; it is the other's if their file is the same.

    Two threads would mix lines that are longer than a pipe takes at once.
    """
    for known in (stream, other):
        if isinstance(known, _Beside) and os.path.sameopenfile(known.fileno(), stream.fileno()):
            return known
    return _Beside(stream)


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
        self._own = threading.local()
        """What each thread has begun of a line: parts of one must not get into another."""
        self._size = 0
        self._dropped = 0
        self._lock = threading.RLock()
        """Taken again by its thread when a finalizer logs in the middle of a line."""
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.wait)
        _beside.append(self)

    def write(self, text: str) -> int:
        """Hand the text over as soon as its line is complete, or drop it."""
        begun = getattr(self._own, "begun", "") + text
        is_whole = begun.endswith("\n")
        self._own.begun = "" if is_whole else begun
        if is_whole:
            self._queue(begun, len(begun))
        return len(text)

    def _queue(self, lines: str, size: int) -> None:
        with self._lock:
            if self._size < _QUEUED_BYTES:
                self._size += size
                self._lines.put(lines)
            else:
                self._dropped += 1

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
            try:
                self._pass_on(self._lines.get())
            except Exception:  # for want of memory, say: there is nowhere to tell it
                time.sleep(_PAUSE_SECONDS)

    def _pass_on(self, lines: str) -> None:
        written, told, size = False, 0, len(lines)
        try:
            written = _write(self._file, lines.encode(errors="backslashreplace"))
        finally:
            with self._lock:
                self._size -= size
                self._dropped += not written
                if written and self._size < _QUEUED_BYTES // 2:
                    told, self._dropped = self._dropped, 0
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
