"""Structured logs: every record has an ``action``, one of a fixed vocabulary, and its context.

Bodies, secrets and signatures are never logged; the event id is the only header that is. In texts
that a client chose, whatever is not printable is escaped: no input can forge a line, colour it, or
change the order in which it is shown.
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
"""Libraries that log what the bridge reports in its own words."""

log = structlog.get_logger()


def configure(
    *,
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["json", "console"],
    stream: TextIO | None = None,
    waits: bool = True,
) -> None:
    """Set up logging for the process; ``stream`` is the standard error stream if not given.

    Without ``waits`` no code that logs waits for the reader of the stream: a thread writes, and
    lines beyond a bound are dropped and counted. From then on the same holds for all that the
    process writes to its standard error stream: warnings, tracebacks, and why it ends.
    """
    stream = stream or sys.stderr
    target = _LossyStream(stream) if waits or not _is_file(stream) else _threaded(stream)
    if not waits and _is_file(sys.stderr):
        sys.stderr = cast("TextIO", _threaded(sys.stderr, target))
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
        logger_factory=lambda *_: _RecordWriter(target),
        cache_logger_on_first_use=False,
    )


def set_level(level: Literal["debug", "info", "warning", "error"]) -> None:
    """Log from this level up. Loggers that were bound before keep their old level."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]))


class _Forward(logging.Handler):
    """Gives what libraries log the form and the stream of our own records."""

    def emit(self, record: logging.LogRecord) -> None:
        name, text, trace = record.name, record.getMessage(), record.exc_info
        if record.levelno >= logging.ERROR:
            log.error("library_message", library=name, text=text, exc_info=trace)
        else:
            log.warning("library_message", library=name, text=text, exc_info=trace)


class _RecordWriter:
    """Writes each record as a whole line.

    It takes no lock: a finalizer may log while a record is being written, and would wait for ever.
    """

    def __init__(self, stream: _LossyStream | _ThreadedStream) -> None:
        self._stream = stream

    def write(self, record: str) -> None:
        self._stream.write(f"{record}\n")
        self._stream.flush()

    debug = info = warning = error = critical = write


class _LossyStream:
    """A stream that drops what it cannot write: a full disk of the log must not cost an event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


_QUEUED_BYTES = 1024 * 1024
"""Maximum number of characters in lines that wait for the reader of the log."""

_LAST_SECONDS = 1.0
"""How long the process waits at its end for lines that are still to be written."""

_PAUSE_SECONDS = 0.1
"""How long to wait after an unexpected error in the thread that writes."""

_threaded_streams: list[_ThreadedStream] = []


def _is_file(stream: TextIO) -> bool:
    try:
        return stream.fileno() >= 0
    except (OSError, ValueError):
        return False


def _threaded(stream: TextIO, other: object = None) -> _ThreadedStream:
    """Return a stream on a thread; it is ``other``, or one of before, if the file is the same."""
    # Two threads would mix lines that are longer than a pipe takes at once.
    for known in (stream, other):
        if isinstance(known, _ThreadedStream) and known.is_same_file(stream):
            return known
    return _ThreadedStream(stream)


def wait() -> None:
    """Wait until all that was logged is written, but not for long: the reader may stand still."""
    for stream in _threaded_streams:
        stream.wait()


class _ThreadedStream:
    """A stream with a thread that writes, so that a slow reader does not stop the event loop."""

    encoding = "utf-8"

    def __init__(self, stream: TextIO) -> None:
        self._file = stream.fileno()
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._own = threading.local()
        """What each thread has begun of a line: two threads must not mix the parts of theirs."""
        self._size = 0
        self._dropped = 0
        self._lock = threading.RLock()
        """Taken again by its thread when a finalizer logs in the middle of a line."""
        threading.Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self.wait)
        _threaded_streams.append(self)

    def write(self, text: str) -> int:
        """Give the text to the thread as soon as its line is complete, or drop it."""
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
        """Return whether it is a terminal."""
        return os.isatty(self._file)

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._file

    def is_same_file(self, other: TextIO) -> bool:
        """Return whether another stream writes to the same open file."""
        return os.path.sameopenfile(self._file, other.fileno())

    def wait(self) -> None:
        """Wait until everything is written, but not for long."""
        end = time.monotonic() + _LAST_SECONDS
        while self._size and time.monotonic() < end:
            time.sleep(0.005)

    def _run(self) -> None:
        while True:
            try:
                self._pass_on(self._lines.get())
            except Exception:  # such as no memory: and there is nowhere to report it
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
        if told:  # only now the reader goes on
            log.warning("log_lines_dropped", lines=told)


def _write(file: int, left: bytes) -> bool:
    """Write all of it, however long that takes; return whether it worked."""
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # whoever shares the file may have made it non-blocking
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
