"""Structured logs: every record has an ``action``, one of a fixed vocabulary, and its context.

Bodies, secrets and headers are never logged. Texts that a sender chose are JSON-escaped, or
``repr``-escaped on a console, so that no input can forge a line.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import orjson
import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

NOISY_LIBRARIES = ("aiormq", "aio_pika", "aiohttp")
"""They log what the bridge reports in its own words."""


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
    logging.basicConfig(stream=stream, level=logging.WARNING, format="%(name)s: %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("action"),
            _console if format == "console" else _json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _json(logger: object, method: str, record: MutableMapping[str, Any]) -> str:
    first = {key: record.pop(key) for key in ("timestamp", "level", "action")}
    return orjson.dumps({**first, **record}, default=str).decode()


def _console(logger: object, method: str, record: MutableMapping[str, Any]) -> str:
    time, level, action = (record.pop(key) for key in ("timestamp", "level", "action"))
    trace = record.pop("exception", None)
    context = " ".join(f"{key}={_shown(value)}" for key, value in record.items())
    line = f"{time[11:19]} {level:<7} {action} {context}".rstrip()
    return f"{line}\n{trace}" if trace else line


def _shown(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)
