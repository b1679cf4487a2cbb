"""The way of spans to the exporter that OpenTelemetry's own variables name, on a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import entry_points

import structlog
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from bridge import __version__
from bridge.aio import set_within
from bridge.core.errors import ConfigInvalid, Problem
from bridge.tracing.parts import Traces

FLUSH_SECONDS = 3.0
"""How long a stop waits for the last spans to be sent."""

_SERVICE = "superoffice-bridge"
_EXPORTER = "OTEL_TRACES_EXPORTER"

log = structlog.get_logger()


@asynccontextmanager
async def opened(*, flush_seconds: float = FLUSH_SECONDS) -> AsyncIterator[Traces]:
    """Trace for the length of the block, as OpenTelemetry's variables say; then flush.

    Raises ``ConfigInvalid`` when an exporter that they name is not installed.
    """
    exporters = _exporters(os.environ.get(_EXPORTER) or "otlp")
    named = {"service.name": _SERVICE, "service.version": __version__}
    given = OTELResourceDetector().detect().attributes
    provider = TracerProvider(resource=Resource.create({**named, **given}), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Traces(provider.get_tracer(_SERVICE, __version__))
    finally:
        await _aside(provider.shutdown, seconds=flush_seconds)


def _exporters(names: str) -> list[SpanExporter]:
    """Return the exporters of a list with commas. Each reads its own variables."""
    known = {point.name: point for point in entry_points(group="opentelemetry_traces_exporter")}
    if "otlp_proto_http" in known:
        known["otlp"] = known["otlp_proto_http"]
    wanted = [name for name in map(str.strip, names.split(",")) if name not in ("", "none")]
    for name in wanted:
        if name not in known:
            others = ", ".join(sorted({*known, "none"}))
            raise ConfigInvalid([Problem(_EXPORTER, name, f"one that is installed: {others}")])
    return [known[name].load()() for name in wanted]


async def _aside(action: Callable[[], None], *, seconds: float) -> None:
    """Do on a thread what blocks; do not wait for it longer than this."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def act() -> None:
        try:
            action()
        finally:
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=act, name="traces", daemon=True).start()
    if not await set_within(done, seconds):
        log.warning("traces_unsent", seconds=seconds)
