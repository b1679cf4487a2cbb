"""Outbox, drain and spool on a scripted broker, through as many processes as a test kills."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.aio import called_back
from bridge.core.message import PARKED
from bridge.core.publish import Outcome
from bridge.delivery.drain import Drain
from bridge.delivery.outbox import Outbox
from bridge.delivery.rows import DUE, GONE, ON_WIRE, IllegalMove
from bridge.metrics import Metrics
from tests.delivery.scripted import ScriptedBroker
from tests.delivery.stepping import SteppedLoop, SteppedSpool
from tests.helpers import message

DEADLINE = 2.0
REFUSED_TRIES = 7
EXCHANGES = ("superoffice", "other")
METRICS = Metrics()


@dataclass(eq=False, repr=False)
class Sent:
    """One message that was handed over, and what became of it."""

    message: Any
    task: Any
    at: float
    disk_was_slow: bool = False

    def __repr__(self):
        """Show the id alone: failing examples are long enough."""
        return self.id

    @property
    def id(self):
        """Return the message id."""
        return self.message.message_id

    @property
    def outcome(self):
        """Return what the caller was told, None if nothing (yet)."""
        done = self.task.done() and not self.task.cancelled()
        return self.task.result() if done else None

    @property
    def accepted(self):
        """Return whether the caller was promised anything."""
        return self.outcome in (Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.SPOOLED)


class Bridge:
    """The parts under test; ``start`` and ``kill`` are those of the process."""

    def __init__(self, directory, *, max_bytes=10**9, broker=None):
        self._path = directory / "spool.db"
        self._max_bytes = max_bytes
        self.broker = broker or ScriptedBroker(EXCHANGES)
        self.sent = []
        self.moves = set()
        """The moves of rows between states, in all processes."""
        self.start()

    def start(self):
        """Begin a process, not connected."""
        self.loop = SteppedLoop()
        self.broker.now = self.loop.time
        self.disk = SteppedSpool(self.loop, self._path, max_bytes=self._max_bytes)
        self.spool = self.disk.spool
        self._watch_appends()
        self.loop.run_until_complete(self._build())
        self.broker.spooled = self._ids_on_disk()
        self.loop.settle()

    def kill(self):
        """End the process; what it had not written is lost."""
        self.loop.end()
        self.disk.close()
        self.broker.new_process()
        self.sent = [sent for sent in self.sent if sent.accepted]

    def send(self, number, **fields):
        """Hand a message over; the loop does not run yet."""
        made = message(number, **fields)
        task = self.loop.create_task(called_back(partial(self.outbox.deliver, made)))
        sent = Sent(made, task, self.loop.time())
        self.sent.append(sent)
        return sent

    def rows(self):
        """Return how many rows the database has."""
        return self.disk.counted()[0]

    def heal(self):
        """Let disk, network and broker be well; what is refused or too large stays so."""
        self.disk.refuse(False)
        self.disk.fill(False)
        self.disk.flows = True
        self.broker.exchanges = {*EXCHANGES, PARKED}
        self.loop.settle()

    def live(self, seconds=0.2):
        """Let the broker settle what it has and some time pass; reconnect if need be."""
        self.broker.connect()
        self.broker.blocked = False
        self.loop.settle()
        self.broker.confirm_all()
        self.loop.advance(seconds)
        self.broker.expire()

    def quiesce(self, *, jump=0.0, rounds=400):
        """Live on until nothing waits any more, jumping ahead before every round."""
        for _ in range(rounds):
            self.loop.jump(jump)
            self.live()
            if not (self.spool.events or self.broker.in_flight):
                return

    def drain_is_empty(self):
        """Check that the drain has nothing in memory any more."""
        rows, step = self.drain._rows, self.drain._step
        assert 0 == len(rows) == len(rows.due) == len(rows._ahead) == len(rows.swept), rows
        wire, turns = step._publishing._wire, step._publishing._turns
        assert 0 == len(wire) == wire.trials == wire._bytes
        assert 0 == len(turns) == len(turns._fifo)
        assert 0 == len(self.drain._arrivals)
        assert not step._settling._losses

    async def _build(self):
        self.drain = Drain(
            self.spool, self.broker, METRICS, refused_tries=REFUSED_TRIES, patience=DEADLINE
        )
        self._watch_moves()
        self.outbox = Outbox(self.broker, self.spool, self.drain, deadline=DEADLINE)
        self.running = self.loop.create_task(self.drain.run())

    def _watch_moves(self):
        """Note every move of a row; an illegal one is a broken rule, whoever catches its error."""
        rows = self.drain._rows
        move, depart, finish = rows.move, rows.depart, rows.finish

        def watched(seq, to):
            was = rows[seq]
            try:
                move(seq, to)
            except IllegalMove as error:
                self.broker.broken.append(str(error))
                raise
            self.moves.add((was, to))

        def departed(seq):
            was = rows[seq]
            depart(seq)
            self.moves |= {(was, DUE), (DUE, ON_WIRE)}

        def finished(seq):
            was = rows[seq]
            finish(seq)
            self.moves.add((was, GONE))

        setattr(rows, "move", watched)  # noqa: B010  # a method
        setattr(rows, "depart", departed)  # noqa: B010  # a method
        setattr(rows, "finish", finished)  # noqa: B010  # a method

    def _ids_on_disk(self):
        rows = self.disk._database.execute("SELECT message_id FROM event")
        return {message_id for (message_id,) in rows}

    def _watch_appends(self):
        append = self.spool.append

        def watched(message, *, on_written, **options):
            def noted(row, refusal):
                self._note_stored(message, refusal)
                on_written(row, refusal)

            try:
                row = append(message, on_written=noted, **options)
            except Exception:
                self.broker.dropped.add(message.message_id)
                self.broker.suspects.discard(message.message_id)
                raise
            self.broker.spooled.add(message.message_id)
            return row

        self.spool.append = watched

    def _note_stored(self, message, refusal):
        if refusal is not None:
            self.broker.dropped.add(message.message_id)
            self.broker.suspects.discard(message.message_id)
