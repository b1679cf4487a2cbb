"""The proof that it works: events sent over HTTP, seen by a consumer of RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from bridge.cli import output
from bridge.cli.clients.consumer import subscribed
from bridge.cli.clients.poster import HttpSender, context_of, sending
from bridge.cli.commands.listen import show
from bridge.cli.errors import CommandFailed
from bridge.core.errors import BrokerUnreachable
from bridge.dev.samples import sample
from bridge.settings import Settings

EVENTS = ("contact.created", "contact.deleted", "associate.changed")
"""What is sent."""

_ARRIVAL_SECONDS = 15.0
_RECONNECT_SECONDS = 1.0
_REMEMBERED = 1000


class Viewer:
    """A consumer of every exchange for events: prints what arrives, and remembers the ids."""

    def __init__(self, url: str, settings: Settings) -> None:
        exchanges = {settings.broker.exchange, *(route.exchange for route in settings.routes)}
        self._url = url
        self._bindings = [(exchange, "#") for exchange in sorted(exchanges)]
        self._bound = asyncio.Event()
        self._lost = False
        self._arrived: deque[str | None] = deque(maxlen=_REMEMBERED)
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Consume until cancelled, on a new connection whenever one is lost."""
        while True:
            try:
                await self._consume()
            except BrokerUnreachable as error:
                if self._bound.is_set():
                    output.notice(f"the consumer lost its connection: {error}")
                    self._bound.clear()
                    self._lost = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def bound(self) -> None:
        """Return when nothing that is published from now on is missed."""
        await self._bound.wait()

    async def arrival(self, message_id: str) -> None:
        """Return when this event has arrived."""
        async with self._news:
            await self._news.wait_for(lambda: message_id in self._arrived)

    async def _consume(self) -> None:
        async with subscribed(self._url, self._bindings) as messages:
            self._bound.set()
            if self._lost:
                output.notice("the consumer is back")
            async for message in messages:
                show(message)
                async with self._news:
                    self._arrived.append(message.message_id)
                    self._news.notify_all()


async def demonstrate(viewer: Viewer, url: str, settings: Settings) -> None:
    """Send the events one after another; raises ``CommandFailed`` naming those that fail."""
    await viewer.bound()
    endpoint, certificate = settings.endpoints[0], settings.server.tls_certificate
    context = context_of(endpoint)
    async with sending(url=url, endpoint=endpoint, certificate=certificate) as sender:
        contents = (sample(event, context=context) for event in EVENTS)
        failures = [await _failure(content, sender, viewer, url) for content in contents]
    if any(failures):
        raise CommandFailed("\n".join(filter(None, failures)))


async def _failure(
    content: dict[str, Any], sender: HttpSender, viewer: Viewer, url: str
) -> str | None:
    """Send one event and wait until it arrives; return what went wrong."""
    event = content["Event"]
    output.line(f"sending {event} to {url}")
    answer = await sender.send(content, due=time.perf_counter())
    if not answer.accepted:
        return f"{event} was not accepted: {output.printable(answer.failure)}"
    try:
        async with asyncio.timeout(_ARRIVAL_SECONDS):
            await viewer.arrival(answer.id)
    except TimeoutError:
        return f"{event} did not arrive within {_ARRIVAL_SECONDS:.0f} s ({answer.kind})"
    return None
