"""The life of a spooled row: its states, and the moves between them.

``MOVES`` is the table of all moves. These make them: ``reaching`` and ``turns`` (a row is read,
its turn comes), ``publishing`` (ON_WIRE), ``settling`` and ``held/holding`` (outcomes), ``trials``
(ON_TRIAL), ``arrivals`` (new rows).

A *row* is an event on disk. It begins UNREAD and ends GONE, which is when another one has taken
responsibility: the broker has confirmed it, or its copy in ``superoffice.parked``. ``Rows`` keeps
the states, and raises on any other move. docs/life-of-an-event.md is drawn from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a row is on its way from the disk to the broker, and what that means.

    A row in a state of the ``backlog`` waits for nothing but its turn. The state of a row is kept
    ``in_memory``, or follows from its number (see ``Rows``).
    """

    name: str
    meaning: str
    backlog: bool = False
    in_memory: bool = True

    def __repr__(self) -> str:
        """Show the name alone."""
        return self.name


UNREAD = State(
    "UNREAD",
    "On disk or being written. The drain has not read it yet, and will in its turn.",
    backlog=True,
    in_memory=False,
)
ATTACHED = State(
    "ATTACHED",
    "Published before it was spooled. The outcome of that publish decides about the row.",
    backlog=True,
)
IN_LINE = State(
    "IN_LINE",
    "Read, and waits for an earlier row of its record that is being published.",
    backlog=True,
)
DUE = State(
    "DUE", "Its turn has come: it is published as soon as the window has room.", backlog=True
)
ON_WIRE = State(
    "ON_WIRE", "Published from the spool; the broker has not answered yet.", backlog=True
)
SILENT = State(
    "SILENT",
    "Published and not confirmed in time. It is not published again while it may be confirmed.",
)
HELD = State(
    "HELD", "Nacked, or suspected of closing a channel. It is remembered by number and tried alone."
)
ON_TRIAL = State(
    "ON_TRIAL", "Published alone on a channel of its own, where it harms no other row."
)
PARKING = State(
    "PARKING",
    "Given up: its copy for ``superoffice.parked`` is tried alone until that is confirmed.",
)
PASSED_OVER = State(
    "PASSED_OVER",
    "Left on the disk, behind a place or a record that is held. A sweep reads it again.",
    in_memory=False,
)
GONE = State(
    "GONE",
    "Deleted from the disk, or never written to it. Nothing is remembered of it.",
    in_memory=False,
)


MOVES: Mapping[State, Mapping[State, str]] = {
    UNREAD: {
        ATTACHED: "it was published, without an answer so far",
        IN_LINE: "read behind another row of its record",
        DUE: "read, the first of its record",
        HELD: "published before it was spooled, and nacked or suspected",
        PASSED_OVER: "its place or its record is held, or no more rows can be",
        GONE: "the disk did not take it",
    },
    ATTACHED: {
        UNREAD: "the connection is lost before the row is read",
        DUE: "the connection is lost after the row was read",
        SILENT: "not confirmed in time",
        HELD: "nacked, or suspected",
        PARKING: "not confirmed, and it was damaged on the disk meanwhile",
        PASSED_OVER: "nacked or suspected, and no more rows can be held",
        GONE: "confirmed, or the disk did not take it",
    },
    IN_LINE: {
        DUE: "the row before it is gone",
        PASSED_OVER: "the row before it is held",
    },
    DUE: {
        ON_WIRE: "published",
        HELD: "suspected: rows of its exchange and type have closed channels",
        PASSED_OVER: "its place is held by now, or it is suspected and no more rows can be held",
        GONE: "another program has deleted it",
    },
    ON_WIRE: {
        DUE: "the connection is lost",
        SILENT: "not confirmed in time",
        HELD: "nacked, or suspected",
        PARKING: "its copy for parking was nacked, or the connection is lost",
        PASSED_OVER: "nacked or suspected, and no more rows can be held",
        GONE: "confirmed",
    },
    SILENT: {
        HELD: "nacked late or its connection has ended, and the row is held",
        PARKING: "nacked late or its connection has ended, and the row is to be parked",
        PASSED_OVER: "its connection has ended, or it was nacked",
        GONE: "confirmed late, or the disk did not take it",
    },
    HELD: {
        ON_TRIAL: "its pause is over",
        PARKING: "its tries are used up, or its exchange was missing for too long",
        PASSED_OVER: "its place is held instead of the row",
        GONE: "another program has deleted it, or the disk did not take it",
    },
    ON_TRIAL: {
        HELD: "nacked, not confirmed in time, or the connection is lost",
        PARKING: "superoffice.parked does not confirm it",
        SILENT: "given up on a channel that it shares",
        PASSED_OVER: "its place, for which it was tried, is held still",
        GONE: "confirmed",
    },
    PARKING: {
        ON_TRIAL: "its pause is over",
        GONE: "another program has deleted it",
    },
    PASSED_OVER: {
        IN_LINE: "a sweep reads it behind another row of its record",
        DUE: "a sweep reads it, the first of its record",
        HELD: "nacked late",
        ON_TRIAL: "it is tried for its place",
        PARKING: "tried for its place until its tries were used up",
        GONE: "the disk did not take it",
    },
    GONE: {},
}
"""Every legal move, and what causes it."""


class IllegalMove(Exception):
    """A row was to make a move that is not in the table: a mistake in this program."""

    def __init__(self, seq: int, was: State, to: State) -> None:
        super().__init__(f"row {seq} must not go from {was.name} to {to.name}")


class Rows:
    """The state of every row, in memory for those only that are under way or held by number.

    All others lie on the disk. One that lies beyond ``cursor`` is UNREAD, any other PASSED_OVER:
    so a million held rows take no memory. ``backlog`` counts the rows that wait for nothing but
    their turn. ``due`` are those that are DUE, in the order in which they became so. ``swept`` are
    those in turn that were passed over before, and so are not part of the backlog.

    ``in_memory`` has the states that are remembered; it is public because asking a dict costs less
    than a call, and every row is asked for several times. Only methods of this class change it.
    """

    def __init__(self, *, backlog: int) -> None:
        """Begin before the first row, with so many on the disk."""
        self.cursor = 0
        self.backlog = backlog
        self.due: dict[int, None] = {}
        self.swept: set[int] = set()
        self.in_memory: dict[int, State] = {}
        self.read_to = 0
        """The latest row that was read; those beyond the cursor may wait in memory."""
        self._ahead: set[int] = set()
        """Rows beyond the cursor that are UNREAD no longer."""
        self._gone: set[int] = set()
        """Rows that have gone since they were read, and are not reached yet."""

    def __repr__(self) -> str:
        """Show how many rows are in which state."""
        states = list(self.in_memory.values())
        counts = (f"{state.name} {states.count(state)}" for state in MOVES if state in states)
        return f"<Rows backlog {self.backlog}, {', '.join(counts) or 'none in memory'}>"

    def __len__(self) -> int:
        """Return how many are in memory."""
        return len(self.in_memory)

    def __getitem__(self, seq: int) -> State:
        """Return the state of a row."""
        return self.in_memory.get(seq) or self._state_on_disk(seq)

    def _state_on_disk(self, seq: int) -> State:
        return UNREAD if seq > self.cursor and seq not in self._ahead else PASSED_OVER

    @property
    def any_ahead(self) -> bool:
        """Return whether rows beyond the cursor are UNREAD no longer."""
        return bool(self._ahead)

    def is_in_backlog(self, seq: int) -> bool:
        """Return whether a row waits for nothing but its turn, and was never passed over."""
        return self[seq].backlog and seq not in self.swept

    def add(self) -> None:
        """Count one more row, which is UNREAD."""
        self.backlog += 1

    def move(self, seq: int, to: State) -> None:
        """Move a row on. Raises ``IllegalMove``, and changes nothing then.

        No event is lost by that. The row stays on the disk, for it is deleted only after its move
        to GONE; whatever was moving it stops there, and the next start reads the row again.
        """
        was = self.in_memory.get(seq) or self._state_on_disk(seq)
        if to not in MOVES[was]:
            raise IllegalMove(seq, was, to)
        if was is DUE:
            del self.due[seq]
        elif to is DUE:
            self.due[seq] = None
        if was.backlog and not to.backlog and seq not in self.swept:
            self.backlog -= 1
        elif was.backlog is not to.backlog:
            (self.swept.add if to.backlog else self.swept.discard)(seq)
        if to.in_memory:
            self.in_memory[seq] = to
        else:
            self.in_memory.pop(seq, None)
        if seq > self.cursor:
            self._note_ahead(seq, to)

    def _note_ahead(self, seq: int, to: State) -> None:
        if to is UNREAD or to is ATTACHED or to is GONE:
            self._ahead.discard(seq)
        else:
            self._ahead.add(seq)
        if to is GONE and seq <= self.read_to:
            self._gone.add(seq)

    def finish(self, seq: int) -> None:
        """Move a row to GONE. Raises ``IllegalMove``."""
        if self.in_memory.get(seq) is ON_WIRE and seq <= self.cursor and seq not in self.swept:
            del self.in_memory[seq]  # confirmed in its turn, as nearly every row
            self.backlog -= 1
        else:
            self.move(seq, GONE)

    def depart(self, seq: int) -> None:
        """Move a row to DUE, and on to ON_WIRE. Raises ``IllegalMove``."""
        if self.in_memory.get(seq) is UNREAD:  # it was just reached, as nearly every row
            self.in_memory[seq] = ON_WIRE
        else:
            self.move(seq, DUE)
            self.move(seq, ON_WIRE)

    def reach(self, seq: int) -> State:
        """Move the cursor on to a row that was read; return the state of the row."""
        state = self.in_memory.get(seq)
        if state is None and seq in self._gone:
            state = GONE
        elif state is None and seq in self._ahead:
            state = PASSED_OVER
        elif state is None:  # to be remembered, for beyond the cursor it would be PASSED_OVER
            state = self.in_memory[seq] = UNREAD
        self.cursor = seq
        self._ahead.discard(seq)
        self._gone.discard(seq)
        return state

    def retreat(self, seq: int) -> None:
        """Move the cursor back before the row that it has reached, which stays UNREAD."""
        del self.in_memory[seq]
        self.cursor = seq - 1

    def skip_to(self, seq: int) -> None:
        """Move the cursor on to a row, if it is not there yet; up to there nothing is UNREAD."""
        self.cursor = max(self.cursor, seq)
        if self._ahead or self._gone:
            self._ahead = {each for each in self._ahead if each > self.cursor}
            self._gone = {each for each in self._gone if each > self.cursor}

    def none_left(self) -> int:
        """Return how many rows of the backlog were never met, and count them no longer."""
        missing, self.backlog = self.backlog, 0
        return missing

    def all_in(self, seqs: Iterable[int], state: State) -> list[int]:
        """Return those of some rows that are in a state."""
        return [seq for seq in seqs if self[seq] is state]
