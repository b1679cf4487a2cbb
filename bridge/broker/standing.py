"""What the broker has of what it must have, while the publisher is connected."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import structlog

from bridge.broker.checking import check
from bridge.broker.room import Room
from bridge.broker.topology import Mismatch, Mode, Report, Topology
from bridge.core.errors import BrokerError, NoRoom

RECHECK_SECONDS = 10.0
"""How often a topology with a mismatch is looked at again."""

_QUEUES_SECONDS = 0.8
"""How long publishing waits for the queues of the configuration to be there."""

log = structlog.get_logger()


class Standing:
    """Looks at what is needed before anything is published, at the rest while it is."""

    def __init__(self, wanted: Topology, mode: Mode, room: Room) -> None:
        self._wanted = wanted
        self._mode: Mode = mode
        self._room = room
        self._has_room = True
        """Whether there may be a look beside the publishing; not since one was refused."""
        self._report = Report()
        self._is_known = False
        self._due_at = math.inf
        self._looking: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """Return ``verified``, ``pending`` (not all looked at yet) or ``mismatch``."""
        if self.mismatches:
            return "mismatch"
        return "verified" if self._is_known else "pending"

    @property
    def mismatches(self) -> tuple[Mismatch, ...]:
        """Return what the last looks found wrong."""
        return self._report.mismatches

    @property
    def is_complete(self) -> bool:
        """Return whether every exchange that messages may go to was verified."""
        return {each.name for each in self._wanted.exchanges} <= self._report.verified

    @property
    def waits_for_room(self) -> bool:
        """Return whether a look is due that has to wait for the end of the publisher's channel."""
        return not self._has_room and self._now() >= self._due_at

    def takes(self, exchange: str) -> bool:
        """Return whether an exchange was verified."""
        return exchange in self._report.verified

    async def begin(self, url: str) -> None:
        """Look at what is needed, and for a moment at the rest; raises ``BrokerUnreachable``.

        A queue that is bound too late misses events: what waits is published at once. What was
        wrong the last time may take long, and nobody waits for it: it comes beside the publishing.
        Where there is no room for that, all of it is looked at now.
        """
        if not self._has_room:
            self._note(await check(url, self._wanted, mode=self._mode), is_all=True)
            self._has_room = True
            return
        wrong = {mismatch.name for mismatch in self.mismatches}
        now = self._wanted.needed.without(wrong)
        found = await check(url, now, mode=self._mode)
        mismatches = dict.fromkeys((*found.mismatches, *self.mismatches))
        self._note(replace(found, mismatches=tuple(mismatches)), is_all=now == self._wanted)
        if (rest := self._wanted.without(wrong)) != now:
            await asyncio.wait({self._look_beside(url, rest)}, timeout=_QUEUES_SECONDS)

    def go_on(self, url: str) -> None:
        """Look at the rest, or once more, when it is due; called every moment of a connection."""
        is_looking = self._looking is not None and not self._looking.done()
        if not is_looking and self._has_room and self._now() >= self._due_at:
            self._look_beside(url, self._wanted)

    def note_error(self, error: BrokerError) -> None:
        """Take note of what kept somebody from the broker: it may be that a look was in the way."""
        if isinstance(error, NoRoom):
            self._has_room = False
            self._room.tell(str(error))

    def end(self) -> None:
        """Stop looking: the connection is gone."""
        if self._looking is not None:
            self._looking.cancel()

    def _look_beside(self, url: str, topology: Topology) -> asyncio.Task[None]:
        self.end()
        self._due_at = self._now() + RECHECK_SECONDS
        self._looking = asyncio.create_task(self._look(url, topology))
        return self._looking

    async def _look(self, url: str, topology: Topology) -> None:
        try:
            found = await check(url, topology, mode=self._mode)
        except BrokerError as error:
            self.note_error(error)
            log.warning("topology_unchecked", error=str(error))
            return
        except Exception as error:  # else nobody sees it; the next look comes in time
            log.warning("topology_unchecked", error=repr(error))
            return
        left_out = () if topology == self._wanted else self.mismatches
        mismatches = dict.fromkeys((*found.mismatches, *left_out))
        self._note(replace(found, mismatches=tuple(mismatches)), is_all=topology == self._wanted)

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
