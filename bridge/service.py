"""The composition root: builds every part from the settings, starts and stops them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from bridge.admin import Admin
from bridge.core.routing import Route, Router
from bridge.dedup import Dedup
from bridge.http import HttpServer, Listener
from bridge.metrics import Metrics
from bridge.pipeline import Endpoint, Pipeline
from bridge.publisher import Publisher
from bridge.receiver import Receiver
from bridge.settings import Settings
from bridge.topology import Queue, Topology

_ADMIN_GRACE_SECONDS = 1.0

log = structlog.get_logger()


class Service:
    """A running bridge; made by ``running``."""

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self.publisher = Publisher(
            settings.broker.connection_urls(),
            topology_of(settings),
            mode=settings.broker.topology,
            confirm_deadline=settings.broker.confirm_deadline_seconds,
        )
        self.dedup = Dedup(
            window=settings.dedup.window_seconds,
            max_events=settings.dedup.max_events,
            clock=asyncio.get_running_loop().time,
        )
        self.pipeline = _pipeline(settings, self.publisher, self.dedup, self.metrics)
        server = settings.server
        receiver = Receiver(
            {endpoint.path: endpoint.name for endpoint in settings.endpoints},
            self.pipeline,
            self.metrics,
            max_body=server.max_body_bytes,
            read_timeout=server.read_timeout_seconds,
        )
        self.listener = Listener(
            HttpServer(receiver.handle, max_body=server.max_body_bytes),
            host=server.host,
            port=server.port,
            grace=server.shutdown_grace_seconds,
        )
        admin = Admin(status=self.status, metrics=self.metrics)
        self.admin = Listener(
            HttpServer(admin.handle, max_body=1),
            host=server.admin_host,
            port=server.admin_port,
            grace=_ADMIN_GRACE_SECONDS,
        )
        self._add_gauges()

    def status(self) -> Mapping[str, Any]:
        """Return the members of ``/readyz``; ready means that a 200 can be earned."""
        return {
            "ready": self.publisher.is_ready,
            "broker": self.publisher.broker,
            "topology": self.publisher.topology,
            "spool": {"events": 0, "bytes": 0, "oldest_seconds": 0},
        }

    def _add_gauges(self) -> None:
        publisher = self.publisher
        self.metrics.gauge(
            "in_flight", "Messages that the broker has not settled yet", lambda: publisher.in_flight
        )
        self.metrics.gauge("dedup_events", "Accepted events remembered", lambda: len(self.dedup))
        self.metrics.state(
            "broker_state",
            "State of the broker",
            ("up", "blocked", "down"),
            lambda: publisher.broker,
        )
        self.metrics.state(
            "topology_state",
            "State of the topology",
            ("verified", "pending", "mismatch"),
            lambda: publisher.topology,
        )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Run a service for the length of the block.

    Stops in the order that loses nothing: no new requests, the last answers, then the broker.
    Raises OSError when a port cannot be bound.
    """
    service = Service(settings)
    publishing = asyncio.create_task(service.publisher.run(), name="publisher")
    try:
        await service.admin.start()
        await service.listener.start()
        log.info("service_started", url=service.listener.url, admin=service.admin.url)
        yield service
    finally:
        log.info("service_stopping", in_flight=service.publisher.in_flight)
        await service.listener.stop()
        publishing.cancel()
        with suppress(asyncio.CancelledError):
            await publishing
        await service.admin.stop()
        log.info("service_stopped")


def topology_of(settings: Settings) -> Topology:
    """Return what the settings ask of the broker."""
    exchanges = [settings.broker.exchange, *(route.exchange for route in settings.routes)]
    queues = [
        Queue(queue.name, queue.exchange, tuple(queue.bindings), type=queue.type)
        for queue in settings.queues
    ]
    return Topology.of(exchanges, queues)


def _pipeline(settings: Settings, publisher: Publisher, dedup: Dedup, metrics: Metrics) -> Pipeline:
    endpoints = {
        endpoint.name: Endpoint(
            name=endpoint.name,
            secrets=endpoint.secret_keys,
            allow_unsigned=endpoint.allow_unsigned,
            contexts=frozenset(endpoint.contexts),
            publish_test_events=endpoint.publish_test_events,
            source=endpoint.source,
        )
        for endpoint in settings.endpoints
    }
    routes = [
        Route(route.match, route.exchange, route.routing_key, raw=route.format == "raw")
        for route in settings.routes
    ]
    return Pipeline(
        endpoints,
        router=Router(routes, exchange=settings.broker.exchange),
        publisher=publisher,
        dedup=dedup,
        metrics=metrics,
        confirm_deadline=settings.broker.confirm_deadline_seconds,
    )
