"""The bridge's own way to the broker, without its HTTP side and without a spool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from bridge.broker.publisher import RabbitPublisher
from bridge.cli.errors import mismatched
from bridge.cli.sender import Answer
from bridge.core.errors import BrokerUnreachable, NotAccepted
from bridge.core.event import Delivery
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publisher
from bridge.delivery.dedup import Claim, Dedup, Key
from bridge.dev.samples import encode
from bridge.metrics import Metrics
from bridge.pipeline import Pipeline
from bridge.service import pipeline_of, topology_of
from bridge.settings import Settings

_CONNECT_SECONDS = 10.0
_CONFIRM_SECONDS = 30.0
_POLL_SECONDS = 0.05


class DirectOutbox:
    """An outbox without a disk: the broker confirms a message, or nobody takes it."""

    def __init__(self, sender: Publisher, *, deadline: float) -> None:
        """Take the time in seconds that the broker has to confirm a message."""
        self._sender = sender
        self._deadline = deadline

    async def deliver(self, message: Message) -> Outcome:
        """Return what became of the message, ``UNKNOWN`` when the time is over."""
        settled: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        publish = self._sender.submit(message)
        publish.on_settled(lambda done: settled.set_result(done.outcome or Outcome.UNKNOWN))
        try:
            async with asyncio.timeout(self._deadline):
                return await settled
        except TimeoutError:
            publish.on_settled(None)
            return Outcome.UNKNOWN


class Forgetful(Dedup):
    """Takes every delivery for the first one."""

    def __init__(self) -> None:
        super().__init__(window=0, max_events=0, clock=time.monotonic)

    def claim(self, key: Key) -> Claim:
        """Return a claim that bars nobody else."""
        return Claim(self, key)

    def conclude(self, claim: Claim) -> None:
        """Remember nothing."""


class DirectSender:
    """Publishes samples as the bridge would, had SuperOffice sent them to its first endpoint."""

    def __init__(self, pipeline: Pipeline, *, endpoint: str) -> None:
        self._pipeline = pipeline
        self._endpoint = endpoint

    async def send(self, content: dict[str, Any], *, due: float) -> Answer:
        """Publish one sample and return what became of it; see ``sender.Sender``."""
        delivery = Delivery(self._endpoint, encode(content), time.time_ns())
        try:
            kind, name, _ = await self._pipeline.replay(delivery)
        except NotAccepted as refused:
            seconds = time.perf_counter() - due
            return Answer(content["EventId"], refused.reason, seconds, accepted=False)
        return Answer(name, kind, time.perf_counter() - due)


@asynccontextmanager
async def directly(settings: Settings) -> AsyncIterator[DirectSender]:
    """Open what ``bridge send --direct`` sends through; see ``publishing``.

    Raises ``TopologyMismatch`` too, when an exchange that events may go to is missing or different.
    """
    async with publishing(settings) as (pipeline, _, publisher):
        if not publisher.is_ready:
            raise mismatched(publisher.mismatches)
        yield DirectSender(pipeline, endpoint=settings.endpoints[0].name)


@asynccontextmanager
async def publishing(
    settings: Settings,
) -> AsyncIterator[tuple[Pipeline, DirectOutbox, RabbitPublisher]]:
    """Connect for the length of the block; nothing is dropped as a duplicate.

    Raises ``BrokerUnreachable``.
    """
    broker = settings.broker
    publisher = RabbitPublisher(
        broker.connection_urls(), topology_of(settings), mode=broker.topology
    )
    outbox = DirectOutbox(publisher, deadline=_CONFIRM_SECONDS)
    running = asyncio.create_task(publisher.run())
    try:
        await _connected(publisher, broker.safe_urls())
        yield pipeline_of(settings, outbox, Forgetful(), Metrics()), outbox, publisher
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def _connected(publisher: RabbitPublisher, urls: tuple[str, ...]) -> None:
    for _ in range(int(_CONNECT_SECONDS / _POLL_SECONDS)):
        if publisher.is_up:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise BrokerUnreachable(f"{', '.join(urls)}: no answer in {_CONNECT_SECONDS:.0f} s")
