"""The topology while the publisher is connected: what was verified, and when to look again."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import structlog

from bridge.broker.limits import BrokerLimits
from bridge.broker.topology import Mismatch, Mode, Report, Topology
from bridge.core.errors import BrokerError, NoRoom

RECHECK_SECONDS = 10.0
"""How often the bridge looks again at a topology with a mismatch."""

_QUEUES_SECONDS = 0.8
"""How long publishing waits until the configured queues are declared."""

log = structlog.get_logger()


class TopologyWatch:
    """Checks what publishing needs before it begins, and the rest beside it.

    Each check uses a connection of its own (see ``topology_check``). Where the broker allows no
    second connection, the next check waits for the end of the connection that publishes.
    """

    def __init__(self, wanted: Topology, mode: Mode, limits: BrokerLimits) -> None:
        self._wanted = wanted
        self._mode: Mode = mode
        self._limits = limits
        self._may_connect = True
        """Whether a check may have a connection beside the publisher's; not after a refusal."""
        self._report = Report()
        self._is_known = False
        self._due_at = math.inf
        self._checking: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """Return ``verified``, ``pending`` (not all checked yet) or ``mismatch``."""
        if self.mismatches:
            return "mismatch"
        return "verified" if self._is_known else "pending"

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Return what the last checks found wrong."""
        return self._report.mismatches

    @property
    def is_complete(self) -> bool:
        """Return whether every exchange that messages may go to was verified."""
        return {each.name for each in self._wanted.exchanges} <= self._report.verified

    @property
    def waits_for_connection(self) -> bool:
        """Return whether a check is due that needs the publisher's connection to end first."""
        return not self._may_connect and self._now() >= self._due_at

    def is_verified(self, exchange: str) -> bool:
        """Return whether an exchange was verified."""
        return exchange in self._report.verified

    async def check_needed(self, url: str) -> None:
        """Check what publishing needs, and give the rest a moment; raises ``BrokerUnreachable``.

        The rest are the consumers' queues. A queue that is bound too late misses events, because
        spooled ones are published at once. So publishing waits for the queues, but not for long.
        What was wrong the last time may take long: it is checked beside the publishing. Where the
        broker allows no connection for that, everything is checked now.
        """
        if not self._may_connect:
            self._note(await self._found(url, self._wanted), is_all=True)
            self._may_connect = True
            return
        wrong = {mismatch.name for mismatch in self.mismatches}
        now = self._wanted.needed.without(wrong)
        found = await self._found(url, now)
        mismatches = dict.fromkeys((*found.mismatches, *self.mismatches))
        self._note(replace(found, mismatches=tuple(mismatches)), is_all=now == self._wanted)
        if (rest := self._wanted.without(wrong)) != now:
            await asyncio.wait({self._start_check(url, rest)}, timeout=_QUEUES_SECONDS)

    def check_when_due(self, url: str) -> None:
        """Start the next check if it is due; called every moment of a connection."""
        is_checking = self._checking is not None and not self._checking.done()
        if not is_checking and self._may_connect and self._now() >= self._due_at:
            self._start_check(url, self._wanted)

    def note_error(self, error: BrokerError) -> None:
        """Remember an error of any connection: a check may have taken the last one allowed."""
        if isinstance(error, NoRoom):
            self._may_connect = False
            self._limits.log_once(str(error))

    def stop(self) -> None:
        """Stop the check that is under way, because the connection is gone."""
        if self._checking is not None:
            self._checking.cancel()

    def _start_check(self, url: str, topology: Topology) -> asyncio.Task[None]:
        self.stop()
        self._due_at = self._now() + RECHECK_SECONDS
        self._checking = asyncio.create_task(self._check(url, topology))
        return self._checking

    async def _check(self, url: str, topology: Topology) -> None:
        try:
            found = await self._found(url, topology)
        except BrokerError as error:
            self.note_error(error)
            log.warning("topology_unchecked", error=str(error))
            return
        except Exception as error:  # nothing awaits this task, so log it; the next check will come
            log.warning("topology_unchecked", error=repr(error))
            return
        left_out = () if topology == self._wanted else self.mismatches
        mismatches = dict.fromkeys((*found.mismatches, *left_out))
        self._note(replace(found, mismatches=tuple(mismatches)), is_all=topology == self._wanted)

    async def _found(self, url: str, topology: Topology) -> Report:
        from bridge.broker.topology_check import check  # with the library: see ``publisher``

        return await check(url, topology, mode=self._mode)

    def _note(self, report: Report, *, is_all: bool) -> None:
        for mismatch in report.mismatches:
            if mismatch not in self.mismatches:
                log.error("topology_mismatch", object=mismatch.name, detail=str(mismatch))
        self._report = report
        self._is_known |= is_all
        again_at = self._now() + RECHECK_SECONDS if report.mismatches else math.inf
        self._due_at = again_at if is_all else self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
