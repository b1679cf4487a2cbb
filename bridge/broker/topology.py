"""The exchanges and queues that the bridge needs, and those that the configuration declares."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bridge.core.message import PARKED, UNROUTED

Mode = Literal["declare", "verify"]

_ENDLESS = 1_000_000_000
"""Value of ``x-delivery-limit``. A get with requeue counts as a delivery, and must never delete."""

UNROUTED_LIMIT = 100_000
"""Maximum number of messages in ``superoffice.unrouted``; beyond it the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange without arguments, so that consumers can declare the same one."""

    name: str
    type: Literal["topic", "fanout"] = "topic"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue and the keys by which it is bound to one exchange."""

    name: str
    exchange: str
    bindings: tuple[str, ...]
    type: Literal["quorum", "classic", "stream"] = "quorum"
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def all_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``queue.declare``."""
        return {"x-queue-type": self.type, **self.arguments}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An object that is not what was asked for: what was asked and what was found, in words."""

    kind: Literal["exchange", "queue", "binding"]
    name: str
    asked: str
    found: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.kind} {self.name!r}: asked for {self.asked}; {self.found}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found: the exchanges that can be published to, and what is wrong."""

    verified: frozenset[str] = frozenset()
    mismatches: tuple[Mismatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Topology:
    """What the bridge needs (exchanges, quarantines), or was told to declare (queues).

    ``spooled`` are exchanges that an earlier configuration named, and that events on disk still
    need. The bridge verifies them, but never declares them.
    """

    exchanges: tuple[Exchange, ...]
    quarantines: tuple[Queue, ...]
    queues: tuple[Queue, ...] = ()
    spooled: tuple[Exchange, ...] = ()

    @property
    def needed(self) -> Topology:
        """Return the part that has to exist before anything is published."""
        return replace(self, queues=())

    def without(self, names: Container[str]) -> Topology:
        """Return the topology without the objects of these names."""
        return Topology(
            exchanges=tuple(each for each in self.exchanges if each.name not in names),
            quarantines=tuple(each for each in self.quarantines if each.name not in names),
            queues=tuple(each for each in self.queues if each.name not in names),
            spooled=tuple(each for each in self.spooled if each.name not in names),
        )

    @classmethod
    def of(
        cls,
        exchanges: Iterable[str],
        queues: Iterable[Queue] = (),
        *,
        spooled: Iterable[str] = (),
    ) -> Topology:
        """Build the topology from the names of exchanges and the consumers' queues."""
        configured = dict.fromkeys(exchanges)
        endless = {"x-delivery-limit": _ENDLESS}
        bounded = {**endless, "x-max-length": UNROUTED_LIMIT, "x-overflow": "drop-head"}
        return cls(
            exchanges=(
                *(Exchange(name) for name in configured),
                Exchange(UNROUTED, "fanout"),
                Exchange(PARKED, "fanout"),
            ),
            quarantines=(
                Queue(UNROUTED, UNROUTED, ("",), arguments=bounded),
                Queue(PARKED, PARKED, ("",), arguments=endless),
            ),
            queues=tuple(queues),
            spooled=tuple(
                Exchange(name) for name in spooled if name not in {*configured, UNROUTED, PARKED}
            ),
        )
