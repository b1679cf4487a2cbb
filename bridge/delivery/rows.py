"""The life of a spooled row: its states, and the moves between them. The rules are all here.

A *row* is an event on disk. It begins UNREAD and ends GONE, which is when another one has taken
responsibility: the broker has confirmed it, or its copy in ``superoffice.parked``. The drain keeps
the states in ``Rows``, which raises on a move that ``MOVES`` does not list.
docs/life-of-an-event.md is drawn from this table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum, auto


class State(IntEnum):
    """Where a row is on its way from the disk to the broker."""

    UNREAD = auto()
    """On disk or being written. The drain has not read it yet, and will in its turn."""

    ATTACHED = auto()
    """Published before it was spooled. The outcome of that publish decides about the row."""

    IN_LINE = auto()
    """Read, and waits for an earlier row of its record that is being published."""

    DUE = auto()
    """Its turn has come: it is published as soon as the window has room."""

    ON_WIRE = auto()
    """Published from the spool; the broker has not answered yet."""

    SILENT = auto()
    """Published and not confirmed in time. It is not published again while it may be confirmed."""

    HELD = auto()
    """Nacked, or suspected of closing a channel. It is remembered by number and tried alone."""

    ON_TRIAL = auto()
    """Published alone on a channel of its own, where it harms no other row."""

    PARKING = auto()
    """Given up: its copy for ``superoffice.parked`` is tried alone until that is confirmed."""

    PASSED_OVER = auto()
    """Left on the disk, behind a place or a record that is held. A sweep reads it again."""

    GONE = auto()
    """Deleted from the disk, or never written to it. Nothing is remembered of it."""


_S = State

MOVES: Mapping[State, Mapping[State, str]] = {
    _S.UNREAD: {
        _S.ATTACHED: "it was published, without an answer so far",
        _S.IN_LINE: "read behind another row of its record",
        _S.DUE: "read, the first of its record",
        _S.HELD: "it was published and nacked before it was spooled",
        _S.PASSED_OVER: "its place or its record is held",
        _S.GONE: "the disk did not take it",
    },
    _S.ATTACHED: {
        _S.UNREAD: "the connection is lost before the row is read",
        _S.DUE: "the connection is lost after the row was read",
        _S.SILENT: "not confirmed in time",
        _S.HELD: "nacked",
        _S.GONE: "confirmed, or the disk did not take it",
    },
    _S.IN_LINE: {
        _S.DUE: "the row before it is gone",
        _S.PASSED_OVER: "the row before it is held",
    },
    _S.DUE: {
        _S.ON_WIRE: "published",
        _S.HELD: "rows of its kind have closed channels",
        _S.PASSED_OVER: "its place is held by now, or no more rows can be",
        _S.GONE: "another program has deleted it",
    },
    _S.ON_WIRE: {
        _S.DUE: "the connection is lost",
        _S.SILENT: "not confirmed in time",
        _S.HELD: "nacked, or suspected",
        _S.PARKING: "its copy for parking was nacked",
        _S.PASSED_OVER: "nacked, and no more rows can be held",
        _S.GONE: "confirmed",
    },
    _S.SILENT: {
        _S.HELD: "its connection has ended, and the row is held",
        _S.PARKING: "its connection has ended, and the row is to be parked",
        _S.PASSED_OVER: "its connection has ended, or it was nacked",
        _S.GONE: "confirmed late, or the disk did not take it",
    },
    _S.HELD: {
        _S.ON_TRIAL: "its pause is over",
        _S.PARKING: "its tries are used up, or its exchange was missing for too long",
        _S.PASSED_OVER: "its place is held instead of the row",
        _S.GONE: "another program has deleted it, or the disk did not take it",
    },
    _S.ON_TRIAL: {
        _S.HELD: "nacked, or not confirmed in time",
        _S.PARKING: "superoffice.parked does not confirm it",
        _S.SILENT: "given up on a channel that it shares",
        _S.PASSED_OVER: "its place, for which it was tried, is held still",
        _S.GONE: "confirmed",
    },
    _S.PARKING: {
        _S.ON_TRIAL: "its pause is over",
        _S.GONE: "another program has deleted it",
    },
    _S.PASSED_OVER: {
        _S.IN_LINE: "a sweep reads it behind another row of its record",
        _S.DUE: "a sweep reads it, the first of its record",
        _S.HELD: "nacked late",
        _S.ON_TRIAL: "it is tried for its place",
        _S.PARKING: "tried for its place until its tries were used up",
        _S.GONE: "the disk did not take it",
    },
    _S.GONE: {},
}
"""Every legal move, and what causes it."""

_IN_TURN = frozenset({_S.UNREAD, _S.ATTACHED, _S.IN_LINE, _S.DUE, _S.ON_WIRE})
"""States of the backlog: a row in one of them waits for nothing but its turn."""

_NOT_REMEMBERED = frozenset({_S.UNREAD, _S.PASSED_OVER, _S.GONE})
_NOT_AHEAD = frozenset({_S.UNREAD, _S.ATTACHED, _S.GONE})


class IllegalMove(Exception):
    """A row was to make a move that is not in the table: a mistake in this program."""

    def __init__(self, seq: int, was: State, to: State) -> None:
        super().__init__(f"row {seq} must not go from {was.name} to {to.name}")


class Rows:
    """The state of every row, in memory for those only that are under way or held by number.

    All others lie on the disk. One that lies beyond ``cursor`` is UNREAD, any other PASSED_OVER:
    so a million held rows take no memory. ``backlog`` counts the rows that wait for nothing but
    their turn; ``due`` are those that are DUE, in the order in which they became so.
    """

    def __init__(self, *, backlog: int) -> None:
        """Begin before the first row, with so many on the disk."""
        self.cursor = 0
        self.backlog = backlog
        self.due: dict[int, None] = {}
        self._states: dict[int, State] = {}
        self._ahead: set[int] = set()
        """Rows beyond the cursor that are UNREAD no longer."""
        self._swept: set[int] = set()
        """Rows in turn that were passed over before: these are not part of the backlog."""

    def __repr__(self) -> str:
        """Show how many rows are in which state."""
        states = list(self._states.values())
        counts = (f"{state.name} {states.count(state)}" for state in State if state in states)
        return f"<Rows backlog {self.backlog}, {', '.join(counts) or 'none in memory'}>"

    def __len__(self) -> int:
        """Return how many are in memory."""
        return len(self._states)

    def __getitem__(self, seq: int) -> State:
        """Return the state of a row."""
        state = self._states.get(seq)
        if state is not None:
            return state
        is_ahead = seq > self.cursor and seq not in self._ahead
        return State.UNREAD if is_ahead else State.PASSED_OVER

    @property
    def any_ahead(self) -> bool:
        """Return whether rows beyond the cursor are UNREAD no longer."""
        return bool(self._ahead)

    def is_swept(self, seq: int) -> bool:
        """Return whether a row in turn was passed over before."""
        return seq in self._swept

    def is_in_backlog(self, seq: int) -> bool:
        """Return whether a row waits for nothing but its turn, and was never passed over."""
        return self[seq] in _IN_TURN and seq not in self._swept

    def add(self) -> None:
        """Count one more row, which is UNREAD."""
        self.backlog += 1

    def move(self, seq: int, to: State) -> None:
        """Move a row on. Raises ``IllegalMove``, and changes nothing then.

        No event is lost by that. The row stays on the disk, for it is deleted only after its move
        to GONE; whoever was moving it stops there, and the next start reads the row again.
        """
        was = self[seq]
        if to not in MOVES[was]:
            raise IllegalMove(seq, was, to)
        self._count(seq, was, to)
        if to in _NOT_REMEMBERED:
            self._states.pop(seq, None)
        else:
            self._states[seq] = to
        if seq > self.cursor:
            (self._ahead.discard if to in _NOT_AHEAD else self._ahead.add)(seq)

    def _count(self, seq: int, was: State, to: State) -> None:
        if was is State.DUE:
            del self.due[seq]
        elif to is State.DUE:
            self.due[seq] = None
        if was in _IN_TURN:
            if to in _IN_TURN:
                return
            if seq in self._swept:
                self._swept.discard(seq)
            else:
                self.backlog -= 1
        elif to in _IN_TURN:
            self._swept.add(seq)

    def reach(self, seq: int) -> State:
        """Move the cursor to a row that was read; return its state."""
        state = self[seq]
        if state is State.UNREAD:
            self._states[seq] = state  # else the cursor would make it PASSED_OVER
        self.cursor = seq
        self._ahead.discard(seq)
        return state

    def skip_to(self, seq: int) -> None:
        """Move the cursor on to a row, if it is not there yet; up to there nothing is UNREAD."""
        self.cursor = max(self.cursor, seq)
        if self._ahead:  # some of them may be gone
            self._ahead = {each for each in self._ahead if each > self.cursor}

    def none_left(self) -> int:
        """Return how many rows of the backlog were never met, and count them no longer."""
        missing, self.backlog = self.backlog, 0
        return missing

    def all_in(self, seqs: Iterable[int], state: State) -> list[int]:
        """Return those of some rows that are in a state."""
        return [seq for seq in seqs if self[seq] is state]
