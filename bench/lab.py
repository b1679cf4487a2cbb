"""Where everything is measured: one private RabbitMQ, pools of events, a directory for spools."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import parity, pool
from bench.builds import interpreted_copy
from bench.peers import environment
from bench.process import ROOT, Bridge, Program, output, reserve_port
from bridge.dev.rabbitmq import RabbitMQNode
from tests.system.faults.webhooks import SECRET

VAR = ROOT / "var" / "bench"
"""On the disk of the checkout: what the system has for temporary files may be memory."""

PEERS = ROOT / "bench" / "peers"
NODE_PEERS = PEERS / "node"
BUILT_PEERS = ROOT / "var" / "peers"
"""Of ``.ci/peers``."""

BENTO_CONFIG = PEERS / "bento" / "peer.yaml"
CATALOGUE = "catalogue.json"
POOL_EVENTS = 24_000
WINDOW_EVENTS = 8_000
"""Of the memory of duplicates: far fewer than the pool has, so that no request is a duplicate."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long everything is measured, and with how much: the full form, and a quick one.

    ``window_events`` are remembered against duplicates where that is what is measured.
    """

    rounds: int
    warm_seconds: float
    seconds: float
    drained_events: int
    spooled_events: int
    window_events: int
    most_seconds: float


FULL = Length(5, 2, 4, 200_000, 1_000_000, 100_000, 40 * 60)
QUICK = Length(3, 1, 2, 40_000, 100_000, 20_000, 10 * 60)


class Peer(Program):
    """A program that is compared with the bridge."""

    def __init__(self, directory: Path, name: str, argv: Sequence[str], broker: str) -> None:
        self.name = name
        super().__init__(directory, argv, {})
        self._environ |= {
            "PEER_PORT": str(self.port),
            "PEER_BROKER": broker,
            "PEER_SECRET": SECRET.decode(),
            "PEER_EXCHANGE": environment.EXCHANGE,
            "PEER_MAX_EVENTS": str(WINDOW_EVENTS),
            "PEER_CATALOGUE": str(directory / CATALOGUE),
            "NODE_ENV": "production",
        }


@dataclass
class Lab:
    """What measurements use; ``directory`` is emptied of spools between them.

    ``against`` is another checkout of the bridge.
    """

    node: RabbitMQNode
    directory: Path
    length: Length
    against: Path | None = None
    round: int = 0
    begun: float = field(default_factory=time.monotonic)
    pools: dict[tuple[int, int], pool.Pool] = field(default_factory=dict)

    def python_peer(self, name: str) -> Program:
        """Return a peer that is not running yet."""
        argv = [sys.executable, "-m", f"bench.peers.{name}"]
        return Peer(self.directory, name, argv, self.node.url)

    def node_peer(self, name: str) -> Program:
        """Return a peer on Node that is not running yet."""
        argv = ["node", str(NODE_PEERS / f"{name}.mjs")]
        return Peer(self.directory, name, argv, self.node.url)

    def built_peer(self, name: str, *arguments: str) -> Program:
        """Return a peer that is a binary of its own and not running yet."""
        argv = [str(BUILT_PEERS / name), *arguments]
        return Peer(self.directory, name, argv, self.node.url)

    def ours(self, *, broker: str | None = None, **environ: str) -> Bridge:
        """Return a bridge that is not running yet; ``clear_spool`` comes first."""
        settings = {
            "BRIDGE_LOG__LEVEL": "warning",
            "BRIDGE_DEDUP__MAX_EVENTS": str(WINDOW_EVENTS),
            **environ,
        }
        return Bridge(self.directory, broker or self.node.url, **settings)

    def interpreted(self) -> Bridge:
        """Return the same bridge with nothing compiled."""
        return self.ours(PYTHONPATH=str(interpreted_copy(self.directory)))

    def before(self) -> Bridge:
        """Return the bridge of the other checkout."""
        return self.ours(PYTHONPATH=str(self.against))

    def pool(self, events: int = POOL_EVENTS, *, size: int = 0) -> pool.Pool:
        """Return a pool, which is made when it is asked for the first time."""
        if (events, size) not in self.pools:
            path = self.directory / f"pool-{events}-{size}"
            self.pools[events, size] = pool.write(path, events, size=size)
        return self.pools[events, size]

    async def prepared_spool(self, events: int, *, checkout: Path = ROOT) -> Path:
        """Return a spool with so many events, made when it is asked for the first time.

        Their numbers begin where those of the usual pool end. A checkout makes its own.
        """
        kind = "prepared" if checkout == ROOT else "before"
        path = self.directory / f"{kind}-{events}" / "spool.db"
        if not path.exists():
            path.parent.mkdir()
            arguments = [str(path), str(events), str(POOL_EVENTS)]
            await output([sys.executable, "-m", "bench.spools", *arguments], checkout=checkout)
        return path

    def copy_spool(self, prepared: Path) -> None:
        """Let the next bridge find a copy of a prepared spool."""
        self.clear_spool()
        copy = self.directory / prepared.name
        shutil.copyfile(prepared, copy)
        with copy.open("rb+") as file:  # or its blocks are written while something is measured
            os.fsync(file.fileno())

    def clear_spool(self) -> None:
        """Remove what an earlier bridge has left."""
        for each in self.directory.glob("spool.db*"):
            each.unlink()


@contextmanager
def laboratory(length: Length, against: Path | None = None) -> Iterator[Lab]:
    """Start the private RabbitMQ; remove everything in the end, also after an interrupt."""
    VAR.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="lab-", dir=VAR))
    try:
        (directory / CATALOGUE).write_text(parity.catalogue())
        with RabbitMQNode.start(directory) as node:
            yield Lab(node, directory, length, against)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def nobody_listens() -> Iterator[str]:
    """Return the URL of a broker that is down."""
    with reserve_port() as held:
        yield f"amqp://127.0.0.1:{held.getsockname()[1]}/"
