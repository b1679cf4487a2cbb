"""A service from its start to its end, in order.

A start is quick, because the sender waits meanwhile, or is refused. The disk works on a thread
while the modules of the service are imported. As soon as the spool is open a 200 can be earned, so
the bridge listens then; the broker comes later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from socket import socket
from typing import TYPE_CHECKING

import structlog

from bridge.aio import keep_running
from bridge.settings import Settings
from bridge.spool import Spool, opened

if TYPE_CHECKING:
    from bridge.service import Service
    from bridge.tracing import Traces

PUBLIC, ADMIN = "public", "admin"
"""Names of the listeners."""

NO_SOCKETS: Mapping[str, Sequence[socket]] = {}

log = structlog.get_logger()


@asynccontextmanager
async def running(
    settings: Settings, shared: Mapping[str, Sequence[socket]] = NO_SOCKETS
) -> AsyncIterator[Service]:
    """Run a service for the length of the block.

    ``shared`` are sockets that listen already, by the name of the listener. While this process
    starts, or another one ends that has the spool, who connects to them waits and is not refused.

    It stops in the order that loses nothing: it takes no new requests, answers the last ones, puts
    what is unresolved on the disk, leaves the broker, and closes the spool.

    Raises OSError when a port cannot be bound, ``SpoolLocked`` when another process uses the spool,
    ``SpoolUnusable`` when it cannot be opened or made.
    """
    spool: Spool | None = None
    try:
        async with (
            _tracing(settings) as traces,
            opened(
                settings.spool.path,
                max_bytes=settings.spool.max_bytes,
                lock_wait=settings.server.shutdown_grace_seconds,
                meanwhile=_import_the_service,
            ) as spool,
            _serving(_built(settings, spool, traces), shared) as service,
        ):
            yield service
    finally:  # the usual end is a cancellation
        if spool is not None:
            log.info("service_stopped", spooled=spool.events)


def _import_the_service() -> None:
    import_module("bridge.service")


def _built(settings: Settings, spool: Spool, traces: Traces | None) -> Service:
    from bridge.service import Service

    return Service(settings, spool, traces)


@asynccontextmanager
async def _serving(
    service: Service, shared: Mapping[str, Sequence[socket]]
) -> AsyncIterator[Service]:
    async with AsyncExitStack() as tasks:
        try:
            await service.listener.start(shared.get(PUBLIC, ()))
            await service.admin.start(
                shared.get(ADMIN, ())
            )  # second: what it calls ready must be open
            for name, work in (("publisher", service.publisher), ("drain", service.drain)):
                await tasks.enter_async_context(keep_running(name, work.run))
            log.info("service_started", url=service.listener.url, admin=service.admin.url)
            yield service
        finally:
            log.info("service_stopping", in_flight=service.publisher.in_flight)
            await service.listener.stop()
            service.outbox.spill_all()
            await service.admin.stop()


def _tracing(settings: Settings) -> AbstractAsyncContextManager[Traces | None]:
    if not settings.tracing.enabled:
        return nullcontext()
    from bridge import tracing  # only now: OpenTelemetry need not be installed

    return tracing.opened()
