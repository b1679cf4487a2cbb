"""The page of metrics, in the text format of Prometheus.

prometheus_client is imported here alone, and this module by who needs the page: a bridge takes
requests before anybody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
from prometheus_client.registry import Collector

from bridge.metrics import LATENCY_BUCKETS, Counter, Latencies, Metrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_1_0_0
_PREFIX = "superoffice_bridge"


def render(metrics: Metrics) -> bytes:
    """Return the page of these metrics, and of the process."""
    return generate_latest(registry_of(metrics))


def registry_of(metrics: Metrics) -> CollectorRegistry:
    """Return all that is exposed, as prometheus_client has it."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Exposed(metrics))
    return registry


class _Exposed(Collector):
    """The metrics of a service in the form of prometheus_client."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every metric as it is now."""
        yield from map(_counter, self._metrics.counters)
        yield _histogram(self._metrics.stage_seconds)
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, read, state in self._metrics.gauges:
            labels = ["state"] if state else []
            family = families.get(name) or GaugeMetricFamily(
                f"{_PREFIX}_{name}", text, labels=labels
            )
            families[name] = family
            family.add_metric([state] if state else [], read())
        yield from families.values()


def _counter(counter: Counter) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{counter.name}", counter.text, labels=counter.names)
    for values, count in counter.counts.items():
        family.add_metric(values, count.value, created=count.created)
    return family


def _histogram(histogram: Latencies) -> Metric:
    name = f"{_PREFIX}_{histogram.name}"
    family = HistogramMetricFamily(name, histogram.text, labels=[histogram.label])
    bounds = [*map(str, map(float, LATENCY_BUCKETS)), "+Inf"]
    for value, latency in histogram.latencies.items():
        buckets = list(zip(bounds, accumulate(latency.counts), strict=True))
        family.add_metric([value], buckets, latency.seconds)
    return family
