"""Requests that are refused, one for each reason, and a service that refuses them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bridge.dev.rabbitmq import free_port
from bridge.lifecycle import running
from bridge.service import Service
from bridge.settings import load
from bridge.superoffice.signature import sign

SECRET = b"s3cret"

Headers = list[tuple[str, str]]

ENDPOINTS: list[dict[str, Any]] = [
    {
        "name": "signed",
        "path": "/webhook",
        "secrets": [{"env": "SUPEROFFICE_SECRET"}],
        "contexts": ["Cust1"],
    },
    {"name": "open", "path": "/open", "allow_unsigned": True, "contexts": ["Cust2"]},
]

ENVIRON = {
    "SUPEROFFICE_SECRET": SECRET.decode(),
    "BRIDGE_ENDPOINTS": json.dumps(ENDPOINTS),
    "BRIDGE_SERVER__HOST": "127.0.0.1",
    "BRIDGE_SERVER__PORT": "0",
    "BRIDGE_SERVER__ADMIN_PORT": "0",
    "BRIDGE_SERVER__MAX_BODY_BYTES": "2000",
    "BRIDGE_SERVER__READ_TIMEOUT_SECONDS": "0.1",
}


@asynccontextmanager
async def refusing(directory: Path) -> AsyncIterator[Service]:
    """Run a service that has no broker and takes its spool for full."""
    environ = ENVIRON | {
        "BRIDGE_BROKER__URLS": f"amqp://127.0.0.1:{free_port()}/",
        "BRIDGE_SPOOL__PATH": str(directory / "spool.db"),
    }
    config = directory / "bridge.toml"
    config.touch()
    async with running(load(config, environ).settings) as service:
        service.spool.bytes = 2**40
        yield service


async def post(
    service: Service,
    body: bytes,
    headers: Headers,
    *,
    method: str = "POST",
    path: str = "/webhook",
    length: int | None = None,
) -> tuple[int, Mapping[str, str], Any]:
    """Send a request as it is given; return status, headers and content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.listener.port)
    given = [("Host", "x"), ("Content-Length", str(len(body) if length is None else length))]
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {text}" for name, text in given + headers)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    answered = dict(line.split(": ", 1) for line in head[1:] if line)
    content = await reader.readexactly(int(answered["Content-Length"]))
    writer.close()
    await writer.wait_closed()
    return int(head[0].split()[1]), answered, json.loads(content)


def webhook(**properties: Any) -> bytes:
    """Return the body of a webhook."""
    return json.dumps({"Event": "contact.created", **properties}).encode()


BODY = webhook(ContextIdentifier="Cust1")
FOREIGN = webhook(ContextIdentifier="Cust3")
OTHER_SECRET = ("X-SuperOffice-Signature", sign(BODY, secret=b"other"))


def signed(body: bytes) -> Headers:
    """Return the header that signs a body."""
    return [("X-SuperOffice-Signature", sign(body, secret=SECRET))]


CASES: dict[str, tuple[bytes, Headers, dict[str, Any]]] = {
    "not_utf8": (b'{"\xff"}', [], {"path": "/open"}),
    "not_json": (b"{", [], {"path": "/open"}),
    "not_object": (b"[]", [], {"path": "/open"}),
    "no_event": (b"{}", [], {"path": "/open"}),
    "signature_missing": (BODY, [], {}),
    "signature_repeated": (BODY, signed(BODY) * 2, {}),
    "signature_malformed": (BODY, [("X-SuperOffice-Signature", "x")], {}),
    "signature_mismatch": (BODY, [OTHER_SECRET], {}),
    "context": (FOREIGN, signed(FOREIGN), {}),
    "path": (BODY, signed(BODY), {"path": "/webhook/"}),
    "method": (BODY, signed(BODY), {"method": "PUT"}),
    "timeout": (b"{", [], {"length": 100}),
    "size": (b"", [], {"length": 2001}),
    "encoding": (BODY, [*signed(BODY), ("Content-Encoding", "gzip")], {}),
    "unavailable": (BODY, signed(BODY), {}),
}
"""Of each reason a request that is refused for it; three reasons need more than one request."""
