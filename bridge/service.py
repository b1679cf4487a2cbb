"""The composition root: builds every part from the settings, starts and stops them in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog

from bridge.aio import keep_running
from bridge.broker.publisher import RabbitPublisher
from bridge.broker.topology import Queue, Topology
from bridge.contract.rendering import Documents
from bridge.core import publish as ports
from bridge.core.routing import Router
from bridge.delivery.dedup import Dedup
from bridge.delivery.drain import Drain
from bridge.delivery.outbox import COMMIT_SECONDS, Outbox
from bridge.gauges import add_gauges
from bridge.log import set_level
from bridge.metrics import Metrics
from bridge.pipeline import Endpoint, Pipeline
from bridge.settings import QueueSettings, ServerSettings, Settings
from bridge.spool import Spool, opened
from bridge.tls import Certificate
from bridge.web.admin import Admin
from bridge.web.listener import Listener, affordable
from bridge.web.receiver import Receiver
from bridge.web.server import HttpServer, Limits
from bridge.web.throttle import Failures

if TYPE_CHECKING:
    from bridge.tracing import Traces

_ADMIN_GRACE_SECONDS = 1.0

_ADMIN_CONNECTIONS = 50
"""Of Prometheus, of probes and of people: many times what they need."""

log = structlog.get_logger()


class Service:
    """A running bridge; made by ``running``."""

    def __init__(self, settings: Settings, spool: Spool, traces: Traces | None = None) -> None:
        self.metrics = Metrics()
        self.spool = spool
        self.publisher = RabbitPublisher(
            settings.broker.connection_urls(),
            topology_of(settings, spooled=spool.exchanges),
            mode=settings.broker.topology,
            confirm_deadline=settings.broker.confirm_deadline_seconds,
        )
        self.drain = Drain(
            spool,
            traces.sender(self.publisher) if traces else self.publisher,
            self.metrics,
            refused_tries=settings.spool.refused_tries,
            patience=settings.broker.confirm_deadline_seconds,
        )
        self.outbox = Outbox(
            self.publisher,
            traces.store(spool) if traces else spool,
            self.drain,
            deadline=settings.broker.confirm_deadline_seconds,
        )
        self.dedup = Dedup(
            window=settings.dedup.window_seconds,
            max_events=settings.dedup.max_events,
            clock=asyncio.get_running_loop().time,
        )
        self._pipeline = pipeline_of(settings, self.outbox, self.dedup, self.metrics, traces)
        self._receiver = _receiver_of(settings, self._pipeline, self.metrics)
        self._certificate = _certificate_of(settings.server)
        self.listener = _public(settings, self._receiver, self._certificate, traces)
        self._documents = Documents(settings)
        token = settings.server.admin_token
        admin = Admin(
            status=self.status,
            metrics=self.metrics,
            documents=self._documents,
            token=token.get_secret_value() if token else None,
        )
        limits = _limits(settings.server, connections=_ADMIN_CONNECTIONS)
        self.admin = Listener(
            HttpServer(admin.handle, max_body=1, limits=limits, proves=False),
            host=settings.server.admin_host,
            port=settings.server.admin_port,
            grace=_ADMIN_GRACE_SECONDS,
        )
        spool.is_needed = self._needs_the_disk
        spool.answer_within(settings.broker.confirm_deadline_seconds + COMMIT_SECONDS)
        add_gauges(
            self.metrics,
            publisher=self.publisher,
            spool=spool,
            drain=self.drain,
            dedup=self.dedup,
            max_bytes=settings.spool.max_bytes,
        )

    def _needs_the_disk(self) -> bool:
        return self.drain.holds_up_all or not self.publisher.is_ready

    def status(self) -> Mapping[str, Any]:
        """Return the members of ``/readyz``; ready means that a 200 can be earned."""
        can_keep = self.spool.accepts or not self._needs_the_disk()
        return {
            "ready": can_keep and self.listener.is_open,
            "broker": self.publisher.broker,
            "topology": self.publisher.topology,
            "spool": {
                "events": self.spool.events,
                "bytes": self.spool.bytes,
                "oldest_seconds": round(self.drain.oldest_seconds, 1),
            },
            "aside": self.drain.places,
        }

    def adopt(self, settings: Settings) -> None:
        """Go by these settings from the next request on, as far as they may change meanwhile."""
        set_level(settings.log.level)
        self._receiver.renew_log()
        self._pipeline.use(_endpoints_of(settings))
        self._documents.use(settings)

    def renew_certificate(self, server: ServerSettings) -> bool:
        """Show new clients what the certificate's files hold by now; return whether it changed.

        Raises ``CertificateUnusable``, and then goes on with the old one.
        """
        if self._certificate is None or server.tls_certificate is None:
            return False
        return self._certificate.renew(server.tls_certificate, server.tls_key)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """Run a service for the length of the block.

    Stops in the order that loses nothing: no new requests, the last answers, what is unresolved to
    the disk, then the broker, then the disk. Raises OSError when a port cannot be bound,
    ``SpoolLocked`` when another process uses the spool, ``SpoolUnusable`` when there can be none.
    """
    spool: Spool | None = None
    try:
        async with (
            _tracing(settings) as traces,
            opened(
                settings.spool.path,
                max_bytes=settings.spool.max_bytes,
                lock_wait=settings.server.shutdown_grace_seconds,
            ) as spool,
        ):
            service = Service(settings, spool, traces)
            async with (
                keep_running("publisher", service.publisher.run),
                keep_running("drain", service.drain.run),
            ):
                try:
                    await service.listener.start()
                    await service.admin.start()  # second: who is told "ready" may come at once
                    log.info("service_started", url=service.listener.url, admin=service.admin.url)
                    yield service
                finally:
                    log.info("service_stopping", in_flight=service.publisher.in_flight)
                    await service.listener.stop()
                    service.outbox.spill_all()
                    await service.admin.stop()
    finally:  # the usual end is a cancellation
        if spool is not None:
            log.info("service_stopped", spooled=spool.events)


def _tracing(settings: Settings) -> AbstractAsyncContextManager[Traces | None]:
    if not settings.tracing.enabled:
        return nullcontext()
    from bridge import tracing  # whoever does without it need not have it

    return tracing.opened()


def _paths(settings: Settings) -> dict[str, str]:
    return {unquote(endpoint.path): endpoint.name for endpoint in settings.endpoints}


def _receiver_of(settings: Settings, pipeline: Pipeline, metrics: Metrics) -> Receiver:
    server = settings.server
    return Receiver(
        _paths(settings),
        pipeline,
        metrics,
        failures=Failures(
            limit=server.max_signature_failures,
            window=server.signature_failure_window_seconds,
            clock=asyncio.get_running_loop().time,
        ),
        max_body=server.max_body_bytes,
        read_timeout=server.read_timeout_seconds,
    )


def _certificate_of(server: ServerSettings) -> Certificate | None:
    if server.tls_certificate is None:
        return None
    return Certificate(server.tls_certificate, server.tls_key)


def _public(
    settings: Settings,
    receiver: Receiver,
    certificate: Certificate | None,
    traces: Traces | None,
) -> Listener:
    server = settings.server
    handle = traces.handler(receiver.handle, _paths(settings)) if traces else receiver.handle
    places = affordable(server.max_connections, others=_ADMIN_CONNECTIONS)
    limits = _limits(server, connections=places)
    return Listener(
        HttpServer(handle, max_body=server.max_body_bytes, limits=limits),
        host=server.host,
        port=server.port,
        grace=server.shutdown_grace_seconds,
        tls=certificate.context if certificate else None,
    )


def _limits(server: ServerSettings, *, connections: int) -> Limits:
    return Limits(connections, head=server.read_timeout_seconds, idle=server.idle_timeout_seconds)


def topology_of(settings: Settings, *, spooled: Iterable[str] = ()) -> Topology:
    """Return what the settings ask of the broker, and the exchanges that spooled events need."""
    exchanges = [settings.broker.exchange, *(route.exchange for route in settings.routes)]
    return Topology.of(exchanges, map(_queue, settings.queues), spooled=spooled)


def _queue(queue: QueueSettings) -> Queue:
    single = {"x-single-active-consumer": True} if queue.single_active_consumer else {}
    bindings = tuple(queue.bindings)
    return Queue(queue.name, queue.exchange, bindings, type=queue.type, arguments=single)


def pipeline_of(
    settings: Settings,
    outbox: ports.Outbox,
    dedup: Dedup,
    metrics: Metrics,
    traces: Traces | None = None,
) -> Pipeline:
    """Return the pipeline that the settings describe, in front of any outbox."""
    make = traces.pipeline if traces else Pipeline
    return make(
        _endpoints_of(settings),
        router=Router(settings.router_routes(), exchange=settings.broker.exchange),
        outbox=outbox,
        dedup=dedup,
        metrics=metrics,
    )


def _endpoints_of(settings: Settings) -> dict[str, Endpoint]:
    return {
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
