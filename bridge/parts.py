"""The parts of a service, each built from the settings. ``service.py`` puts them together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bridge.broker.publisher import RabbitPublisher
from bridge.broker.topology import Queue, Topology
from bridge.core import publish as ports
from bridge.core.routing import Router
from bridge.delivery.dedup import Dedup, Memory
from bridge.delivery.drain import Drain
from bridge.delivery.outbox import Outbox
from bridge.metrics import Metrics
from bridge.pipeline import Acceptor, Endpoint, Pipeline
from bridge.settings import QueueSettings, ServerSettings, Settings
from bridge.spool import Spool
from bridge.tls import Certificate
from bridge.web.admin import Admin
from bridge.web.heads import Heads
from bridge.web.listener import Listener
from bridge.web.plain import Plain
from bridge.web.receiver import Receiver
from bridge.web.responder import Responder
from bridge.web.server import HttpServer, Limits
from bridge.web.sockets import affordable
from bridge.web.throttle import Failures

if TYPE_CHECKING:
    from bridge.tracing import Traces

_ADMIN_GRACE_SECONDS = 1.0

_ADMIN_CONNECTIONS = 50
"""Connection limit of the admin listener: far more than Prometheus, probes and people need."""


def _paths(settings: Settings) -> dict[str, str]:
    return {unquote(endpoint.path): endpoint.name for endpoint in settings.endpoints}


def publisher_of(settings: Settings, spool: Spool) -> RabbitPublisher:
    """Return the publisher; its topology has the exchanges that spooled events need, too."""
    return RabbitPublisher(
        settings.broker.connection_urls(),
        topology_of(settings, spooled=spool.exchanges),
        mode=settings.broker.topology,
        confirm_deadline=settings.broker.confirm_deadline_seconds,
    )


def drain_of(
    settings: Settings,
    spool: Spool,
    publisher: RabbitPublisher,
    metrics: Metrics,
    traces: Traces | None,
) -> Drain:
    """Return what takes spooled events to the broker."""
    return Drain(
        spool,
        traces.publisher(publisher) if traces else publisher,
        metrics,
        refused_tries=settings.spool.refused_tries,
        patience=settings.broker.confirm_deadline_seconds,
    )


def outbox_of(
    settings: Settings,
    spool: Spool,
    publisher: RabbitPublisher,
    drain: Drain,
    traces: Traces | None,
) -> Outbox:
    """Return what takes responsibility for messages: by the broker, or by the disk."""
    return Outbox(
        publisher,
        traces.store(spool) if traces else spool,
        drain,
        deadline=settings.broker.confirm_deadline_seconds,
    )


def dedup_of(settings: Settings) -> Dedup:
    """Return the memory of accepted events."""
    return Dedup(
        window=settings.dedup.window_seconds,
        max_events=settings.dedup.max_events,
        clock=asyncio.get_running_loop().time,
    )


def responder_of(settings: Settings, pipeline: Acceptor, metrics: Metrics) -> Responder:
    """Return what answers the deliveries of the public listener."""
    server = settings.server
    failures = Failures(
        limit=server.max_signature_failures,
        window=server.signature_failure_window_seconds,
        clock=asyncio.get_running_loop().time,
    )
    return Responder(pipeline, metrics, failures=failures)


def receiver_of(settings: Settings, responder: Responder, metrics: Metrics) -> Receiver:
    """Return the handler of the public listener."""
    return Receiver(
        _paths(settings),
        responder,
        metrics,
        max_body=settings.server.max_body_bytes,
        read_timeout=settings.server.read_timeout_seconds,
    )


def certificate_of(server: ServerSettings) -> Certificate | None:
    """Return the certificate of the public listener, None where a proxy has it."""
    if server.tls_certificate is None:
        return None
    return Certificate(server.tls_certificate, server.tls_key)


def public_listener(
    settings: Settings,
    receiver: Receiver,
    responder: Responder,
    certificate: Certificate | None,
    traces: Traces | None,
) -> Listener:
    """Return the listener that SuperOffice posts to. With traces each request has a span."""
    server, paths = settings.server, _paths(settings)
    handle = traces.handler(receiver.handle, paths) if traces else receiver.handle
    heads = Heads(paths, max_body=server.max_body_bytes)
    plain = None if traces else Plain(heads, responder)
    places = affordable(server.max_connections, others=_ADMIN_CONNECTIONS)
    limits = _limits(server, connections=places)
    return Listener(
        HttpServer(handle, max_body=server.max_body_bytes, limits=limits, plain=plain),
        host=server.host,
        port=server.port,
        grace=server.shutdown_grace_seconds,
        tls=certificate.context if certificate else None,
    )


def admin_listener(settings: Settings, admin: Admin) -> Listener:
    """Return the operator's listener."""
    server = settings.server
    limits = _limits(server, connections=_ADMIN_CONNECTIONS)
    return Listener(
        HttpServer(admin.handle, max_body=1, limits=limits, proves=False),
        host=server.admin_host,
        port=server.admin_port,
        grace=_ADMIN_GRACE_SECONDS,
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
    dedup: Memory,
    metrics: Metrics,
    traces: Traces | None = None,
) -> Acceptor:
    """Return the pipeline that the settings describe, in front of any outbox."""
    make = traces.pipeline if traces else Pipeline
    return make(
        endpoints_of(settings),
        router=Router(settings.router_routes(), exchange=settings.broker.exchange),
        outbox=outbox,
        dedup=dedup,
        metrics=metrics,
    )


def endpoints_of(settings: Settings) -> dict[str, Endpoint]:
    """Return the endpoints by name."""
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
