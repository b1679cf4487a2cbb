"""Which tests share a worker: a worker starts one RabbitMQ for its tests, which costs seconds.

xdist 3.8 has a mark for this, but it has no effect under pytest 9.2, where names do not change.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

TOGETHER = {
    "tests/broker/test_tls": "tls",
    "tests/broker/": "broker",
    "tests/cli/": "cli",
    "tests/core/test_message_properties": "broker",
    "tests/delivery/test_ids": "broker",
    "tests/dev/test_rabbitmq": "node",
    "tests/project/docs/": "broker",
    "tests/system/compose/": "compose",
    "tests/system/faults/test_bridge": "faults of the bridge",
    "tests/system/faults/test_broker": "faults of the broker",
    "tests/system/faults/test_clients": "faults of the bridge",
    "tests/system/faults/test_queues": "faults of the broker",
    "tests/system/faults/test_spool": "faults of the bridge",
    "tests/system/openapi/test_driven": "openapi",
    "tests/test_": "broker",
    "tests/tracing/": "broker",
    "tests/web/test_tls": "tls",
    "tests/web/": "broker",
}
"""Group by the beginning of a test's name; the first one that fits counts."""


class BrokerScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives each group to one worker, the largest first, and other tests to any worker."""

    def _split_scope(self, nodeid: str) -> str:
        groups = (group for start, group in TOGETHER.items() if nodeid.startswith(start))
        return next(groups, nodeid)
