"""The queue of what is parked, looked at without taking anything out of it.

Messages are received without an acknowledgement, and the broker puts them back when the channel
closes: to the front of the queue, but after thousands of them not in their old order. So a list
goes by their times.
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

from bridge.broker.connection import ANSWER_SECONDS, connected, safe_url
from bridge.cli.clients import consumer as broker
from bridge.cli.errors import CommandFailed
from bridge.core.errors import BrokerUnreachable
from bridge.core.message import PARKED

_AT_A_TIME = 100
"""Maximum number of messages that are on their way to us; each may be as large as a body."""

_LOOK = 1000
_LOOK_BYTES = 64 * 1024 * 1024
"""Maximum that is looked at to find the oldest, unless more are asked for: queues may be long."""

_QUIET_SECONDS = 1.0
"""How long nothing arrives before the queue is asked whether anything is left in it."""

Messages = AsyncIterator[AbstractIncomingMessage]


_Shown = TypeVar("_Shown")


@dataclass(frozen=True, slots=True)
class Look(Generic[_Shown]):
    """How many are parked, how many of them were looked at, and the oldest of those."""

    total: int
    seen: int
    oldest: list[_Shown]

    @property
    def is_partial(self) -> bool:
        """Return whether there are more than were looked at."""
        return self.seen < self.total

    def __str__(self) -> str:
        """Return it in words."""
        said = f"{self.total} parked, {len(self.oldest)} shown"
        return f"{said}: the oldest of the first {self.seen}" if self.is_partial else said


@asynccontextmanager
async def quarantine(urls: Sequence[str]) -> AsyncIterator[tuple[int, Messages]]:
    """Yield how many are parked, and each of them; in the end all are given back.

    Raises ``CommandFailed`` when there is no such queue, and ``BrokerUnreachable``.
    """
    url = await broker.first_reachable(urls)
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


async def look(
    urls: Sequence[str], count: int, shown: Callable[[AbstractIncomingMessage], _Shown]
) -> Look[_Shown]:
    """Look at all that is parked, or at the first ones where they are many.

    Return what is to be shown of the oldest ones, at most ``count`` of them.
    """
    oldest: list[tuple[float, _Shown]] = []
    seen = size = 0
    async with quarantine(urls) as (total, messages):
        async for message in messages:
            seen, size = seen + 1, size + len(message.body)
            bisect.insort(oldest, (_moment(message), shown(message)), key=itemgetter(0))
            del oldest[count:]
            if seen >= count and (seen >= _LOOK or size >= _LOOK_BYTES):
                break
    return Look(total, seen, [one for _, one in oldest])


def _moment(message: AbstractIncomingMessage) -> float:
    """Return when a message was parked; what did not come from the bridge comes first."""
    try:
        return datetime.fromisoformat(str(message.headers.get("time"))).timestamp()
    except ValueError:
        return 0.0


async def _all(queue: AbstractQueue, count: int, url: str) -> Messages:
    """Yield so many messages, or fewer if somebody else holds some of them.

    A consumer is given no more than its prefetch while nothing is acknowledged, so when all of that
    was kept another one goes on. To get messages one by one takes thirty times as long.
    """
    arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
    queue.channel.close_callbacks.add(lambda *_: arrived.put_nowait(None))
    kept = room = 0
    for _ in range(count):
        if kept == room:
            # RabbitMQ takes back what consumers held in the order of their tags, up to 32 of them.
            await queue.consume(arrived.put, consumer_tag=f"{room:08}")
            room += _AT_A_TIME
        while (message := await _within(arrived, _QUIET_SECONDS)) is None:
            if queue.channel.is_closed:
                raise BrokerUnreachable(f"{safe_url(url)}: the connection was lost")
            if await _ready(queue) == 0:
                return
        yield message
        kept += not message.processed


async def _within(
    arrived: asyncio.Queue[AbstractIncomingMessage | None], seconds: float
) -> AbstractIncomingMessage | None:
    """Return what arrives next, None when nothing did."""
    try:
        async with asyncio.timeout(seconds):
            return await arrived.get()
    except TimeoutError:
        return None


async def _ready(queue: AbstractQueue) -> int:
    """Return how many messages nobody holds."""
    return (await queue.declare(timeout=ANSWER_SECONDS)).message_count or 0
