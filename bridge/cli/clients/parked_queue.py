"""The queue superoffice.parked, read without taking anything out of it.

We receive messages and acknowledge none, so the broker requeues them when the channel closes. It
puts them at the front of the queue, but after thousands of messages not in their old order. So a
list of the oldest messages has to be sorted by their times.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Generic, TypeVar

from aio_pika.abc import AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import ChannelNotFoundEntity

from bridge.broker.connection import connected
from bridge.broker.errors import ANSWER_SECONDS, safe_url
from bridge.cli.clients.consumer import first_reachable
from bridge.cli.errors import CommandFailed
from bridge.core.errors import BrokerUnreachable
from bridge.core.message import PARKED

_AT_A_TIME = 100
"""Maximum number of messages that one consumer holds; each may be as large as a body."""

_SCAN = 1000
_SCAN_BYTES = 64 * 1024 * 1024
"""Maximum that a scan for the oldest messages reads, unless more are asked for: queues get long."""

_QUIET_SECONDS = 1.0
"""How long to wait for a message before we ask the queue whether any is left."""

Messages = AsyncIterator[AbstractIncomingMessage]

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Scan(Generic[_Item]):
    """How many messages are parked, how many of them we have seen, and the oldest of those."""

    total: int
    seen: int
    oldest: list[_Item]

    @property
    def is_partial(self) -> bool:
        """Return whether there are more than we have seen."""
        return self.seen < self.total

    def __str__(self) -> str:
        """Return a sentence for people."""
        said = f"{self.total} parked, {len(self.oldest)} shown"
        return f"{said}: the oldest of the first {self.seen}" if self.is_partial else said


@asynccontextmanager
async def open_parked(urls: Sequence[str]) -> AsyncIterator[tuple[int, Messages]]:
    """Yield how many messages are parked, and the messages.

    A message that the block acknowledges is gone; the others are requeued at the end of the block.
    Raises ``CommandFailed`` when there is no such queue, and ``BrokerUnreachable``.
    """
    url = await first_reachable(urls)
    async with connected(url, purpose="parked") as connection:
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=_AT_A_TIME)
        try:
            queue = await channel.declare_queue(PARKED, passive=True)
        except ChannelNotFoundEntity:
            raise CommandFailed(
                f"there is no queue {PARKED} at {safe_url(url)}: the bridge declares it when it"
                " starts, and so does `bridge topology apply`"
            ) from None
        total = await _ready(queue)
        yield total, _all(queue, total, url)
        await channel.close()


async def scan(
    urls: Sequence[str], count: int, item_of: Callable[[AbstractIncomingMessage], _Item]
) -> Scan[_Item]:
    """Read the queue, or its beginning if it is long, and return the ``count`` oldest messages.

    Of a message only ``item_of(message)`` is kept: thousands of bodies would not fit in memory.
    """
    oldest: list[tuple[float, _Item]] = []
    seen = size = 0
    async with open_parked(urls) as (total, messages):
        async for message in messages:
            seen, size = seen + 1, size + len(message.body)
            bisect.insort(oldest, (_parked_at(message), item_of(message)), key=itemgetter(0))
            del oldest[count:]
            if seen >= count and (seen >= _SCAN or size >= _SCAN_BYTES):
                break
    return Scan(total, seen, [item for _, item in oldest])


def _parked_at(message: AbstractIncomingMessage) -> float:
    """Return when a message was parked; 0 if another program put it there, so it sorts first."""
    try:
        return datetime.fromisoformat(str(message.headers.get("time"))).timestamp()
    except ValueError:
        return 0.0


async def _all(queue: AbstractQueue, count: int, url: str) -> Messages:
    """Yield ``count`` messages, or fewer if another consumer holds some of them.

    While nothing is acknowledged, a consumer gets no more messages than its prefetch. So when one
    is full we start the next. Getting the messages one by one takes thirty times as long.
    """
    arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
    queue.channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    held = room = 0
    for _ in range(count):
        if held == room:
            # When the channel closes, RabbitMQ requeues by the order of the tags, for up to 32 of
            # them. So a tag sorts as its number does.
            await queue.consume(arrived.put, consumer_tag=f"{room:08}")
            room += _AT_A_TIME
        while (message := await _within(arrived, _QUIET_SECONDS)) is None:
            if queue.channel.is_closed:
                raise BrokerUnreachable(f"{safe_url(url)}: the connection was lost")
            if await _ready(queue) == 0:
                return
        yield message
        held += not message.processed


async def _within(
    arrived: asyncio.Queue[AbstractIncomingMessage | None], seconds: float
) -> AbstractIncomingMessage | None:
    """Return the next message, or None if none arrived in time (or the channel has closed)."""
    try:
        async with asyncio.timeout(seconds):
            return await arrived.get()
    except TimeoutError:
        return None


async def _ready(queue: AbstractQueue) -> int:
    """Return how many messages are in the queue and with no consumer."""
    return (await queue.declare(timeout=ANSWER_SECONDS)).message_count or 0
