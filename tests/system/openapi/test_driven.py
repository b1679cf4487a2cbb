"""A running bridge does what its OpenAPI document says, whatever it is asked.

``make openapi-fuzz EXAMPLES=2000 SEED=7`` asks for more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.message import PARKED
from tests.helpers import consumer_queue, drain
from tests.system.faults.process import until
from tests.system.openapi.driven import DrivenBridge, driven


@pytest.fixture
async def bridge(broker: str, tmp_path: Path) -> AsyncIterator[DrivenBridge]:
    """Run a bridge whose every event goes to the queue ``all``."""
    consumer_queue(broker, "all", "#")
    bridge = DrivenBridge(tmp_path, broker)
    try:
        await bridge.start()
        yield bridge
    finally:
        bridge.close()


def operations(document: dict[str, Any]) -> int:
    """Return how many operations a document has."""
    return sum(
        "operationId" in item for path in document["paths"].values() for item in path.values()
    )


def with_any_bytes(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with bodies on the signed endpoint that need not be JSON.

    The contract does not speak of them, because SuperOffice sends none; they are parked.
    """
    signed = document["paths"]["/webhook"]["post"]
    usual = document["components"]["requestBodies"]["Webhook"]
    binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    body = {**usual, "content": usual["content"] | binary}
    path = {**document["paths"]["/webhook"], "post": {**signed, "requestBody": body}}
    return {**document, "paths": document["paths"] | {"/webhook": path}}


async def test_whoever_is_trusted(bridge: DrivenBridge, broker: str) -> None:
    """No answer departs from the document, and what was answered 200 is where the 200 said."""
    document = with_any_bytes(await bridge.document())
    report = await driven(bridge, document, trusted=True)
    await until(bridge.has_empty_spool, what="what had to wait on disk is published")
    statuses = ("published", "spooled", "parked")
    published, spooled, parked = [
        await bridge.count("accepted_total", status=status) for status in statuses
    ]

    assert report.found["failures"] == report.found["errors"] == [], report.text
    assert 0 == report.found["exit_code"], report.text
    assert report.found["operations"]["tested"] == operations(document), report.text
    assert published + spooled == len(drain(broker, "all")) > 0
    assert parked == len(drain(broker, PARKED)) > 0


async def test_whoever_is_not(bridge: DrivenBridge, broker: str) -> None:
    """Without a signature or with one made up nothing is let in where one is wanted."""
    document = await bridge.document()
    report = await driven(bridge, document, trusted=False)
    let_in = {
        name: await bridge.count("accepted_total", endpoint=name)
        for name in ("superoffice", "open")
    }
    reasons = ("signature_malformed", "rate_limited", "encoding", "method")
    refused = {reason: await bridge.count("rejected_total", reason=reason) for reason in reasons}

    assert report.found["failures"] == report.found["errors"] == [], report.text
    assert 0 == report.found["exit_code"], report.text
    assert report.found["operations"]["tested"] == operations(document), report.text
    assert let_in["superoffice"] == 0 < let_in["open"]
    assert all(refused.values()), refused
