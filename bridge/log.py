"""Structured logs: every record has an ``action``, one of a fixed vocabulary, and its context.

Bodies, secrets and signatures are never logged; of the headers only the event id is. Texts that a
sender chose are escaped, whatever is not printable in them, so that no input can forge or colour a
line, or reorder what is seen of it.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
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
) -> None:
    """Set up logging for the process; ``stream`` is the standard error stream if not given."""
    stream = stream or sys.stderr
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
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(stream))),
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
