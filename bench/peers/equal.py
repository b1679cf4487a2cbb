"""The naive peer with the work of the bridge: what an experienced developer would plainly write.

The signature, the parsing and checks, the normal form, the CloudEvent with its properties and
headers, the memory of duplicates and the metrics are the bridge's own modules; around them is
``await exchange.publish(...)``. It has no spool, no order per record and no deadlines.
"""

from __future__ import annotations

import time

import aio_pika
import uvloop
from aio_pika.abc import AbstractExchange
from aio_pika.exceptions import AMQPError, DeliveryError
from aiohttp import web

from bench.peers.environment import BROKER, EXCHANGE, MAX_EVENTS, SECRET
from bench.peers.serving import connected, serve
from bridge.aio import called_back
from bridge.core.errors import PayloadInvalid, SignatureInvalid
from bridge.core.event import Delivery, Payload
from bridge.core.message import Message, event_message
from bridge.core.routing import Router
from bridge.delivery.dedup import Dedup
from bridge.metrics import Metrics
from bridge.superoffice.headers import EVENT, EVENT_ID, SIGNATURE
from bridge.superoffice.identity import Identity, identify
from bridge.superoffice.names import source_uri
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from bridge.superoffice.signature import verify

ENDPOINT = "superoffice"


class Webhook:
    """Handles one webhook URL."""

    def __init__(self, exchange: AbstractExchange) -> None:
        self._exchange = exchange
        self._router = Router((), exchange=EXCHANGE)
        self._dedup = Dedup(window=600, max_events=MAX_EVENTS, clock=time.monotonic)
        self._metrics = Metrics()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        started = time.perf_counter()
        self._metrics.received.labels(ENDPOINT).inc()
        delivery = await delivery_of(request)
        try:
            verify(delivery.body, headers=request.headers.getall(SIGNATURE, []), secrets=[SECRET])
            payload = parse(delivery.body)
        except SignatureInvalid as error:
            return self._refused(401, error.reason)
        except PayloadInvalid as error:
            return self._refused(400, error.reason)
        identity = identify(payload, delivery)
        try:
            status = await self._accept(delivery, payload, identity)
        except (AMQPError, DeliveryError) as error:
            return self._refused(503, type(error).__name__)
        if status == "unavailable":
            return self._refused(503, "earlier_attempt_failed")
        self._metrics.accepted.labels(ENDPOINT, status).inc()
        self._metrics.stage_seconds.labels("total").observe(time.perf_counter() - started)
        return web.json_response({"status": status, "id": identity.id})

    async def _accept(self, delivery: Delivery, payload: Payload, identity: Identity) -> str:
        key = identity.key
        if self._dedup.was_accepted(key):
            return "duplicate"
        if (first := self._dedup.under_way(key)) is not None:
            return "duplicate" if await called_back(first.on_end) else "unavailable"
        claim, succeeded = self._dedup.claim(key), False
        try:
            message = self._message(delivery, payload, identity)
            started = time.perf_counter()
            await self._exchange.publish(amqp_message(message), message.routing_key, mandatory=True)
            self._metrics.stage_seconds.labels("deliver").observe(time.perf_counter() - started)
            self._metrics.published.labels(ENDPOINT).inc()
            succeeded = True
        finally:
            claim.end(succeeded=succeeded)
        return "published"

    def _message(self, delivery: Delivery, payload: Payload, identity: Identity) -> Message:
        event, oddities = normalize(payload, delivery=delivery, identity=identity)
        for kind in oddities:
            self._metrics.oddities.labels(kind).inc()
        target = self._router.target(event)
        source = source_uri(event.context)
        return event_message(event, delivery=delivery, target=target, source=source)

    def _refused(self, status: int, reason: str) -> web.Response:
        self._metrics.rejected.labels(ENDPOINT, reason).inc()
        return web.json_response({"status": status, "title": reason}, status=status)


async def delivery_of(request: web.Request) -> Delivery:
    """Read a request."""
    return Delivery(
        endpoint=ENDPOINT,
        body=await request.read(),
        received_ns=time.time_ns(),
        header_event=request.headers.get(EVENT),
        header_event_id=request.headers.get(EVENT_ID),
    )


def amqp_message(message: Message) -> aio_pika.Message:
    """Return the same message for aio-pika."""
    return aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=message.message_id,
        timestamp=message.timestamp,
        type=message.type,
        app_id="superoffice-bridge",
    )


async def main() -> None:
    """Serve until killed."""
    async with connected(BROKER, EXCHANGE) as exchange:
        app = web.Application()
        app.router.add_post("/webhook", Webhook(exchange).handle)
        await serve(app)


if __name__ == "__main__":
    uvloop.run(main())
