"""Which tests share a worker: a worker starts one RabbitMQ for its tests, which costs seconds.

xdist 3.8 has a mark for this, but it has no effect under pytest 9.2, where names do not change.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = {
    "tests/broker/": "broker",
    "tests/cli/": "cli",
    "tests/compose/": "compose",
    "tests/docs/": "broker",
    "tests/faults/test_bridge": "faults of the bridge",
    "tests/faults/test_broker": "faults of the broker",
    "tests/faults/test_clients": "faults of the bridge",
    "tests/faults/test_queues": "faults of the broker",
    "tests/faults/test_spool": "faults of the bridge",
    "tests/node/test_rabbitmq": "node",
    "tests/openapi/test_driven": "openapi",
    "tests/properties/test_messages": "broker",
    "tests/service/": "broker",
    "tests/tls/": "tls",
}
"""By how their names begin. The two groups of faults take about as long as each other."""


class BrokerScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives whole groups to a worker, the largest first, and all else to whoever is free."""

    def _split_scope(self, nodeid: str) -> str:
        groups = (group for start, group in TOGETHER.items() if nodeid.startswith(start))
        return next(groups, nodeid)
