"""A pipeline to RabbitMQ for the length of a command: no HTTP, no spool, no deduplication."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from bridge.broker.publisher import RabbitPublisher
from bridge.core.errors import BrokerUnreachable
from bridge.core.message import Message
from bridge.core.publish import Outcome, Publish, Publisher
from bridge.delivery.dedup import Claim, Key
from bridge.metrics import Metrics
from bridge.parts import pipeline_of, topology_of
from bridge.pipeline import Acceptor
from bridge.settings import Settings

_CONNECT_SECONDS = 10.0
_CONFIRM_SECONDS = 30.0
_POLL_SECONDS = 0.05


class DirectOutbox:
    """An outbox without a disk: either the broker confirms a message, or nothing keeps it."""

    def __init__(self, publisher: Publisher, *, deadline: float) -> None:
        """Take how many seconds the broker has to confirm a message."""
        self._publisher = publisher
        self._deadline = deadline

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        """Tell what became of the message: ``UNKNOWN`` when the deadline has passed."""
        publish = self._publisher.submit(message)

        def give_up() -> None:
            publish.on_settled(None)
            settled(Outcome.UNKNOWN)

        def end(done: Publish) -> None:
            timer.cancel()
            settled(done.outcome or Outcome.UNKNOWN)

        timer = asyncio.get_running_loop().call_later(self._deadline, give_up)
        publish.on_settled(end)


class NoDedup:
    """Treats every delivery as the first one: a command repeats an event on purpose."""

    def was_accepted(self, key: Key) -> bool:
        """Return that it was not."""
        return False

    def under_way(self, key: Key) -> Claim | None:
        """Return that it is not."""
        return None

    def claim(self, key: Key) -> Claim:
        """Return a claim that no other delivery of the event waits for."""
        return Claim(self, key)

    def conclude(self, claim: Claim) -> None:
        """Remember nothing."""


@asynccontextmanager
async def open_bare_pipeline(
    settings: Settings,
) -> AsyncIterator[tuple[Acceptor, DirectOutbox, RabbitPublisher]]:
    """Connect to the broker for the length of the block; raises ``BrokerUnreachable``."""
    broker = settings.broker
    publisher = RabbitPublisher(
        broker.connection_urls(), topology_of(settings), mode=broker.topology
    )
    outbox = DirectOutbox(publisher, deadline=_CONFIRM_SECONDS)
    running = asyncio.create_task(publisher.run())
    try:
        await _connected(publisher, broker.safe_urls())
        yield pipeline_of(settings, outbox, NoDedup(), Metrics()), outbox, publisher
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
