"""A private RabbitMQ cluster for tests: nodes that find each other through an epmd of their own.

    with RabbitMQCluster.start() as cluster:
        connect(cluster.urls[0])
        cluster.nodes[0].kill()

Each node is a ``RabbitMQNode`` with a supervisor, a directory and ports of its own. A test kills,
freezes and restarts each by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

from bridge.dev.home import ClusterIdentity
from bridge.dev.rabbitmq import (
    RabbitMQFailed,
    RabbitMQNode,
    SupervisedPrograms,
    on_free_ports,
    reserve_port,
)
from bridge.dev.supervisor import SupervisorProcess

DEFAULTS = {"cluster_partition_handling": "pause_minority"}
LEAD_ATTEMPTS = 5


class RabbitMQCluster:
    """Running nodes that are one broker; ``urls`` are theirs, in the order of ``nodes``."""

    def __init__(self, nodes: Sequence[RabbitMQNode], resources: contextlib.ExitStack) -> None:
        self.nodes = tuple(nodes)
        self.urls = tuple(node.url for node in nodes)
        self._resources = resources

    @classmethod
    def start(
        cls,
        directory: Path | None = None,
        *,
        size: int = 3,
        config: Mapping[str, str] | None = None,
    ) -> Self:
        """Start so many nodes; arguments and errors are those of ``RabbitMQNode.start``."""
        start = partial(cls._start_once, size=size, config={**DEFAULTS, **(config or {})})
        return on_free_ports(start, directory)

    @classmethod
    def _start_once(cls, parent: Path, *, size: int, config: Mapping[str, str]) -> Self:
        with contextlib.ExitStack() as resources:
            epmd_port = resources.enter_context(reserve_port()).getsockname()[1]
            cluster = ClusterIdentity.create(epmd_port)
            supervisor = SupervisorProcess(parent)
            resources.callback(supervisor.close)
            SupervisedPrograms(supervisor).run_epmd(epmd_port)
            settings = {**_peers(cluster, size), **config}
            nodes = []
            for number in range(1, size + 1):
                node = RabbitMQNode.prepare(parent, settings, cluster, number)
                nodes.append(resources.enter_context(node))
            in_parallel(RabbitMQNode.restart, nodes)  # in 4.x none comes up without the others
            return cls(nodes, resources.pop_all())

    def __enter__(self) -> Self:
        """Return the cluster itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all nodes."""
        self.stop()

    def stop(self) -> None:
        """End the nodes, their epmd and their directories; a second call does nothing."""
        self._resources.close()

    def restart(self) -> None:
        """Kill all nodes and start them again."""
        in_parallel(RabbitMQNode.kill, self.nodes)
        in_parallel(RabbitMQNode.restart, self.nodes)

    def cut_off(self, node: RabbitMQNode) -> None:
        """Cut the links between a node and the others; clients reach all of them as before."""
        self._rejoin(node, "no_cookie_of_this_cluster")

    def reunite(self, node: RabbitMQNode) -> None:
        """Let a node that was cut off see the others again."""
        self._rejoin(node, "erlang:get_cookie()")

    def _rejoin(self, node: RabbitMQNode, cookie: str) -> None:
        # Nodes that disagree about a cookie do not talk. All links at once: RabbitMQ takes a node
        # that sees only some of the others for a partial partition, and pauses both ends of it.
        peers = "[" + ", ".join(repr(each.name) for each in self.nodes if each is not node) + "]"
        node.ctl("eval", f"[erlang:set_cookie(Peer, {cookie}) || Peer <- {peers}].")
        node.ctl("eval", f"[erlang:disconnect_node(Peer) || Peer <- {peers}].")

    def leader_of(self, queue: str, *, asked: RabbitMQNode) -> RabbitMQNode:
        """Return the node that leads a quorum queue, as a running node has it."""
        found = asked.ctl("eval", f"{{ok, _, {{_, Node}}}} = ra:members({_replica(queue)}), Node.")
        return next(node for node in self.nodes if node.name in found)

    def lead(self, queue: str, node: RabbitMQNode) -> None:
        """Let a node lead a quorum queue, and return when it does."""
        for _ in range(LEAD_ATTEMPTS):  # a transfer is only begun when it is answered
            old = self.leader_of(queue, asked=node)
            if old is node:
                return
            ends = f"{_replica(queue, old)}, {_replica(queue, node)}"
            node.ctl("eval", f"ok = ra:transfer_leadership({ends}).")
        raise RabbitMQFailed(f"{node.name} does not come to lead {queue}")


def in_parallel(do: Callable[[RabbitMQNode], None], nodes: Iterable[RabbitMQNode]) -> None:
    """Call a function for several nodes at the same time; raise what the first of them raised."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(do, nodes))


def _peers(cluster: ClusterIdentity, size: int) -> dict[str, str]:
    key = "cluster_formation.classic_config.nodes"
    return {f"{key}.{number}": cluster.node_name(number) for number in range(1, size + 1)}


def _replica(queue: str, node: RabbitMQNode | None = None) -> str:
    """Return the name of the process that holds a node's copy of a queue, as Erlang writes it."""
    return f"{{'%2F_{queue}', {repr(node.name) if node else 'node()'}}}"
