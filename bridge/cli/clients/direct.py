"""Sample events, published to RabbitMQ as a bridge would, without a bridge."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from bridge.aio import called_back
from bridge.cli.clients.bare_pipeline import open_bare_pipeline
from bridge.cli.clients.poster import SendResult
from bridge.cli.errors import mismatched
from bridge.core.errors import Rejected
from bridge.core.event import Delivery
from bridge.dev.samples import encode
from bridge.pipeline import Acceptor
from bridge.settings import Settings


class DirectPublisher:
    """Publishes samples as if SuperOffice had sent them to the first endpoint of a bridge."""

    def __init__(self, pipeline: Acceptor, *, endpoint: str) -> None:
        self._pipeline = pipeline
        self._endpoint = endpoint

    async def send(self, content: dict[str, Any], *, due: float) -> SendResult:
        """Publish one sample and return what became of it; see ``poster.SampleClient``."""
        delivery = Delivery(self._endpoint, encode(content), time.time_ns())
        try:
            kind, name, _ = await called_back(partial(self._pipeline.replay, delivery))
        except Rejected as rejected:
            seconds = time.perf_counter() - due
            return SendResult(content["EventId"], rejected.reason, seconds, ok=False)
        return SendResult(name, kind, time.perf_counter() - due)


@asynccontextmanager
async def open_direct(settings: Settings) -> AsyncIterator[DirectPublisher]:
    """Open what ``bridge send --direct`` publishes through; raises ``BrokerUnreachable``.

    Raises ``TopologyMismatch`` when an exchange that events may go to is missing or different.
    """
    async with open_bare_pipeline(settings) as (pipeline, _, publisher):
        if not publisher.is_ready:
            raise mismatched(publisher.mismatches)
        yield DirectPublisher(pipeline, endpoint=settings.endpoints[0].name)
