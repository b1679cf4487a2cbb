"""What the service counts, for Prometheus.

Every label has a bounded set of values: nothing that a sender can choose becomes a label.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

CONTENT_TYPE = CONTENT_TYPE_PLAIN_1_0_0
_PREFIX = "superoffice_bridge"

_LATENCY_BUCKETS = (
    0.0001,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
)
"""Seconds: from one cheap step to the sender's whole budget."""


class Metrics:
    """One registry and everything in it; build one per service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.received = self._counter("received", "Requests for an endpoint's path", "endpoint")
        self.rejected = self._counter(
            "rejected",
            "Requests refused, and 503; malformed HTTP is only logged",
            "endpoint",
            "reason",
        )
        self.accepted = self._counter("accepted", "Requests answered 200", "endpoint", "status")
        self.published = self._counter(
            "published", "Events confirmed by the broker in the exchange of their route", "endpoint"
        )
        self.unrouted = self._counter(
            "unrouted", "Events no queue was bound for, now in superoffice.unrouted", "endpoint"
        )
        self.parked = self._counter(
            "parked", "Deliveries now in superoffice.parked", "endpoint", "reason"
        )
        self.drained = self._counter("drained", "Spooled events that the broker has taken")
        self.late_confirms = self._counter(
            "late_confirms", "Spooled events that turned out to be confirmed after their deadline"
        )
        self.oddities = self._counter(
            "oddities", "Odd shapes that were passed on unchanged", "kind"
        )
        self.stage_seconds = Histogram(
            f"{_PREFIX}_stage_seconds",
            "Latency of requests answered 200: deliver (to confirm or fsync), and total",
            ["stage"],
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )

    def count_drained(self, endpoint: str, *, unrouted: bool) -> None:
        """Count an event that the broker has taken from the spool."""
        self.drained.inc()
        if unrouted:
            self.unrouted.labels(endpoint).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(f"{_PREFIX}_{name}", text, registry=self.registry).set_function(read)

    def state(self, name: str, text: str, values: tuple[str, ...], read: Callable[[], str]) -> None:
        """Add a gauge per value, 1 for the one that ``read`` returns and 0 for the others."""
        gauge = Gauge(f"{_PREFIX}_{name}", text, ["state"], registry=self.registry)
        for value in values:
            gauge.labels(value).set_function(partial(_is, read, value))

    def render(self) -> bytes:
        """Return the text exposition format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)


def _is(read: Callable[[], str], value: str) -> float:
    return float(read() == value)
