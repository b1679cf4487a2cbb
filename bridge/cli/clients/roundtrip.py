"""A check of the whole way: events go in over HTTP, and a consumer of RabbitMQ sees them arrive."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from bridge.cli import messages, output
from bridge.cli.clients.consumer import open_subscription
from bridge.cli.clients.poster import Poster, context_of, open_poster
from bridge.cli.errors import CommandFailed
from bridge.core.errors import BrokerUnreachable
from bridge.dev.samples import sample
from bridge.settings import Settings

EVENTS = ("contact.created", "contact.deleted", "associate.changed")
"""Events that a round trip sends, in this order."""

_ARRIVAL_SECONDS = 15.0
_RECONNECT_SECONDS = 1.0
_REMEMBERED = 1000


class Viewer:
    """A consumer of every exchange for events: it prints messages and remembers their ids."""

    def __init__(self, url: str, settings: Settings) -> None:
        exchanges = {settings.broker.exchange, *(route.exchange for route in settings.routes)}
        self._url = url
        self._bindings = [(exchange, "#") for exchange in sorted(exchanges)]
        self._bound = asyncio.Event()
        self._was_lost = False
        self._arrived: deque[str | None] = deque(maxlen=_REMEMBERED)
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Consume until cancelled; connect again whenever the connection is lost."""
        while True:
            try:
                await self._consume()
            except BrokerUnreachable as error:
                if self._bound.is_set():
                    output.notice(f"the consumer lost its connection: {error}")
                    self._bound.clear()
                    self._was_lost = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def bound(self) -> None:
        """Wait until the queue is bound: it gets every message that is published from then on."""
        await self._bound.wait()

    async def arrival(self, message_id: str) -> None:
        """Wait until the message with this id has arrived."""
        async with self._news:
            await self._news.wait_for(lambda: message_id in self._arrived)

    async def _consume(self) -> None:
        async with open_subscription(self._url, self._bindings) as arrivals:
            self._bound.set()
            if self._was_lost:
                output.notice("the consumer is back")
            async for message in arrivals:
                messages.show(message)
                async with self._news:
                    self._arrived.append(message.message_id)
                    self._news.notify_all()


async def check_round_trip(viewer: Viewer, url: str, settings: Settings) -> None:
    """Send ``EVENTS`` one after another; raises ``CommandFailed`` naming those that fail."""
    await viewer.bound()
    endpoint, certificate = settings.endpoints[0], settings.server.tls_certificate
    context = context_of(endpoint)
    async with open_poster(url=url, endpoint=endpoint, certificate=certificate) as poster:
        contents = (sample(event, context=context) for event in EVENTS)
        failures = [await _failure(content, poster, viewer, url) for content in contents]
    if any(failures):
        raise CommandFailed("\n".join(filter(None, failures)))


async def _failure(content: dict[str, Any], poster: Poster, viewer: Viewer, url: str) -> str | None:
    """Send one event and wait until it arrives; return what went wrong, or None."""
    event = content["Event"]
    output.line(f"sending {event} to {url}")
    result = await poster.send(content, due=time.perf_counter())
    if not result.ok:
        return f"{event} was not accepted: {output.printable(result.failure)}"
    try:
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            await viewer.arrival(result.id)
    except TimeoutError:
        return f"{event} did not arrive within {_ARRIVAL_SECONDS:.0f} s ({result.kind})"
    return None
