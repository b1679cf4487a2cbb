"""Gauges: the metrics that show the state of a running bridge at the time they are read."""

from __future__ import annotations

from bridge.broker.publisher import RabbitPublisher
from bridge.delivery.dedup import Dedup
from bridge.delivery.drain import Drain
from bridge.metrics import Metrics
from bridge.spool import Spool


def add_gauges(
    metrics: Metrics,
    *,
    publisher: RabbitPublisher,
    spool: Spool,
    drain: Drain,
    dedup: Dedup,
    max_bytes: int,
) -> None:
    """Add the gauges of these parts; the spool may hold ``max_bytes``."""
    gauge, state = metrics.gauge, metrics.state
    gauge("in_flight", "Messages that the broker has not settled", lambda: publisher.in_flight)
    gauge("dedup_events", "Accepted events remembered", lambda: len(dedup))
    gauge("spool_events", "Events on disk", lambda: spool.events)
    gauge("spool_bytes", "Bytes that they count against max_bytes", lambda: spool.bytes)
    gauge("spool_accepts", "1 while the spool takes events", lambda: float(spool.accepts))
    gauge("spool_process_deaths", "Processes that write and have died", lambda: spool.health.deaths)
    gauge("spool_max_bytes", "How many bytes may wait on disk", lambda: max_bytes)
    gauge("spool_oldest_seconds", "Age of the oldest event on disk", lambda: drain.oldest_seconds)
    gauge(
        "spool_held_records",
        "Records whose first event the broker refuses",
        lambda: drain.held_records,
    )
    gauge(
        "places_aside",
        "Exchanges with routing keys that do not confirm, or refuse too much",
        lambda: drain.held_places,
    )
    gauge(
        "places_full",
        "Of those, how many have had their share of the disk: their events are answered 503",
        lambda: drain.full_places,
    )
    state(
        "broker_state",
        "1 for the state that the broker is in",
        ("up", "blocked", "down"),
        lambda: publisher.broker,
    )
    state(
        "topology_state",
        "1 for the state that the topology is in",
        ("verified", "pending", "mismatch"),
        lambda: publisher.topology,
    )
