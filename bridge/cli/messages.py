"""A message from RabbitMQ, as a command prints it: a line for people, JSON for programs."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from datetime import datetime
from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from bridge.cli import output
from bridge.cli.output import printable


def show(message: AbstractIncomingMessage, *, as_json: bool = False) -> None:
    """Print one message: its routing key and body, or all of it as JSON."""
    key, text = printable(message.routing_key or ""), body_text(message.body)
    if as_json:
        output.document(as_document(message))
    elif output.is_terminal():
        output.line(key, style="bold cyan")
        output.line(text)
    else:
        output.line(f"{key}\t{text}")


def as_document(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return a message for programs. A body that is JSON is an object there, not a string."""
    content = exact_body(message.body)
    with suppress(ValueError, TypeError):
        content["body"] = json.loads(content["body"])
    return {**properties(message), **content}


def properties(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Return everything but the body; ``timestamp`` is in seconds since the Unix epoch."""
    time = message.timestamp
    return {
        "routing_key": message.routing_key,
        "exchange": message.exchange,
        "message_id": message.message_id,
        "type": message.type,
        "content_type": message.content_type,
        "timestamp": int(time.timestamp()) if isinstance(time, datetime) else time,
        "app_id": message.app_id,
        "headers": dict(message.headers),
    }


def exact_body(body: bytes) -> dict[str, Any]:
    """Return a body without loss: UTF-8 as text in ``body``, other bytes in ``body_base64``."""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def body_text(body: bytes) -> str:
    """Return a body on one line: UTF-8 as text, other bytes as base64."""
    content = exact_body(body)
    text = content["body"]
    if text is None:
        return f"base64:{content['body_base64']}"
    if printable(text) == text:
        return str(text)
    try:
        return json.dumps(json.loads(text))
    except ValueError:
        return printable(text)
