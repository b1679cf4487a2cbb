"""What the service counts, for Prometheus.

Every label has a bounded set of values: nothing that a client can choose becomes a label. All
counting happens on the event loop, several times an event, so it needs no lock. prometheus_client
only formats the counts when they are read (docs/decisions/0010): ``exposition`` does that, and is
imported then.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

LATENCY_BUCKETS = (
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
"""Bounds in seconds: from one cheap step to all the time that SuperOffice gives a delivery."""


class Count:
    """How often something happened since ``created``, Unix time in seconds."""

    __slots__ = ("created", "value")

    def __init__(self) -> None:
        self.value = 0
        self.created = time.time()

    def inc(self) -> None:
        """Count one more."""
        self.value += 1


class Counter:
    """Counts, one for every combination of labels that has occurred."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self.name = name
        self.text = text
        self.names = labels
        self.counts: dict[tuple[str, ...], Count] = {}

    def labels(self, *values: str) -> Count:
        """Return the count of these labels; raises ValueError if their number is wrong."""
        count = self.counts.get(values)
        if count is None:
            if len(values) != len(self.names):
                raise ValueError(f"{values} do not fit the labels {self.names}")
            count = self.counts[values] = Count()
        return count


class Latency:
    """Number of observations in each bucket, and the sum of their ``seconds``."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.seconds += seconds


class Latencies:
    """Histograms, one for every value of a label; all values are known."""

    def __init__(self, name: str, text: str, label: str, values: tuple[str, ...]) -> None:
        self.name = name
        self.text = text
        self.label = label
        self.latencies = {value: Latency() for value in values}

    def labels(self, value: str) -> Latency:
        """Return the latencies of this label."""
        return self.latencies[value]


class Gauge(NamedTuple):
    """A value that is read when it is asked for; with a ``state``, of the label of that name."""

    name: str
    text: str
    read: Callable[[], float]
    state: str = ""


class Metrics:
    """All metrics of one service."""

    def __init__(self) -> None:
        self.counters: list[Counter] = []
        self.gauges: list[Gauge] = []
        self.received = self._counter("received", "Requests for an endpoint's path", "endpoint")
        self.received_plain = self._counter(
            "received_plain", "Of these, requests that took the plain path", "endpoint"
        )
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
        self.drained = self._counter("drained", "Spooled events that the broker has taken").labels()
        self.late_confirms = self._counter(
            "late_confirms", "Spooled events that turned out to be confirmed after their deadline"
        ).labels()
        self.oddities = self._counter(
            "oddities", "Odd shapes that were passed on unchanged", "kind"
        )
        self.stage_seconds = Latencies(
            "stage_seconds",
            "Latency of requests answered 200: deliver (to confirm or fsync), and total",
            "stage",
            ("deliver", "total"),
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Add a gauge; ``read`` is called when Prometheus asks."""
        self.gauges.append(Gauge(name, text, read))

    def state(self, name: str, text: str, values: tuple[str, ...], read: Callable[[], str]) -> None:
        """Add a gauge per value, 1 for the one that ``read`` returns and 0 for the others."""
        self.gauges += [Gauge(name, text, partial(_is, read, value), value) for value in values]

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        counter = Counter(name, text, *labels)
        self.counters.append(counter)
        return counter


def _is(read: Callable[[], str], value: str) -> float:
    return float(read() == value)
