"""Do the peers of equal work build the bridge's message? Asked before anything is measured."""

from __future__ import annotations

import json
import os
import subprocess
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.core.event import Delivery
from bridge.core.message import Message, event_message
from bridge.core.routing import Router
from bridge.superoffice.catalogue import ENTITIES, LIST
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse

RECEIVED_MS = 1_772_442_927_123


def catalogue() -> str:
    """Return the kinds of all columns as JSON, for a peer that cannot import ours."""
    kinds = {
        entity.name: {column: kind.value for column, kind in entity.fields.items()}
        for entity in (*ENTITIES, LIST)
    }
    return json.dumps(kinds)


def our_message(body: bytes) -> Message:
    """Return what the bridge publishes for a body."""
    delivery = Delivery(endpoint="superoffice", body=body, received_ns=RECEIVED_MS * 1_000_000)
    event, _ = normalize(parse(body), delivery=delivery)
    target = Router((), exchange="superoffice").target(event)
    return event_message(event, delivery=delivery, target=target, source=source_uri(event.context))


def as_json(message: Message) -> dict[str, Any]:
    """Return a message in the form in which ``check.mjs`` prints its own."""
    headers: dict[str, Any] = dict(message.headers)
    if isinstance(headers.get("primary_key"), int):
        headers["primary_key"] = {"!": "int64", "value": headers["primary_key"]}
    properties = {
        "contentType": message.content_type,
        "headers": headers,
        "messageId": message.message_id,
        "timestamp": message.timestamp,
        "type": message.type,
        "appId": "superoffice-bridge",
    }
    body = message.body.decode()
    return {"key": message.routing_key, "body": body, "properties": properties}


def node_messages(peers: Path, kinds: Path, bodies: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return what Node's peer would publish for the bodies."""
    environ = {
        "PATH": os.environ["PATH"],
        "PEER_CATALOGUE": str(kinds),
        "PEER_RECEIVED_MS": str(RECEIVED_MS),
    }
    lines = b"".join(b64encode(body) + b"\n" for body in bodies)
    command = ["node", str(peers / "check.mjs")]
    done = subprocess.run(command, input=lines, env=environ, capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def difference(theirs: dict[str, Any], ours: dict[str, Any]) -> str | None:
    """Say how two messages differ, after parsing and writing their JSON alike."""
    for part in ("key", "properties", "body"):
        mine, other = _plain(ours[part]), _plain(theirs[part])
        if mine != other:
            return f"{part}: {other} is not {mine}"
    return None


def _plain(part: Any) -> str:
    return json.dumps(json.loads(part) if isinstance(part, str) and part[:1] == "{" else part)
