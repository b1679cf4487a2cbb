"""Every interleaving of callers, broker, disk and clock that hypothesis can think of.

An example is a list of moves. A move is made in the same instant as the next one, or the event loop
runs first until nothing more can happen. After every move the rules are checked; in the end all
goes well again, and whatever was promised must have been kept.
"""

import shutil
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.message import PARKED
from bridge.core.publish import Outcome
from tests.delivery.bridge_under_test import DEADLINE, EXCHANGES, REFUSED_TRIES, Bridge

MEMORY = Path("/dev/shm")  # noqa: S108  # where an fsync costs nothing
EXAMPLES = settings().max_examples * 4
MOVES = 60

ONE, TWO = (("superoffice", "Cust1", "contact", key) for key in (1, "x"))
SENDINGS = [[ONE], [ONE], [ONE, ONE], [ONE, TWO], [ONE, None], [TWO, ONE, ONE, None]]
FIRST = (0, 0, 1, 3)
"""Which of several: mostly the first."""


def _moves(name, *arguments, weight=1):
    """Return one move for every combination of arguments."""
    return [(name, *chosen) for chosen in product(*arguments)] * weight


CALM = [
    *_moves("send", SENDINGS, EXCHANGES[:1]),
    *_moves("confirm", FIRST),
    *_moves("confirm_all"),
    *_moves("wait", [0.01, 0.11, 0.3, 1.0, DEADLINE]),
]
TROUBLES = {
    "unresolved": _moves("wait", [DEADLINE], weight=6),
    "channel": [
        *_moves("lose", [0, 1, 9], [True, False]),
        *_moves("close_channel", [True, True, False]),
        *_moves("connect", weight=4),
        *_moves("spoil", FIRST, ["poison"]),
        *_moves("jump", [1.1, 4.1]),
    ],
    "nobody": _moves("spoil", FIRST, ["unbound"]),
    "exchange": [
        *_moves("send", SENDINGS, EXCHANGES[1:]),
        *_moves("gone", EXCHANGES[1:], weight=4),
        *_moves("back", EXCHANGES[1:], weight=4),
        *_moves("gone", [EXCHANGES[0], PARKED]),
        *_moves("back", [EXCHANGES[0], PARKED], weight=2),
        *_moves("jump", [601.0]),
    ],
    "refusal": [
        *_moves("nack", FIRST),
        *_moves("toggle_full", [ONE, TWO]),
        *_moves("jump", [1.1, 4.1, 17.0, 5000.0]),
    ],
    "block": _moves("block", weight=6),
    "disk": [
        *_moves("step_disk", ["commit", "select", "answer"], weight=3),
        *_moves("step_disk", [None]),
        *_moves("release_disk", weight=2),
    ],
    "space": _moves("disk_space", ["well", "well", "refuses", "full"]),
    "process": _moves("kill", weight=2),
    "callers": _moves("hang_up", FIRST),
}
"""Few kinds of trouble at a time lead deeper than all at once."""


@st.composite
def examples(draw):
    """Return how a bridge begins, and what happens to it."""
    troubles = draw(st.frozensets(st.sampled_from(sorted(TROUBLES)), min_size=1, max_size=3))
    possible = CALM + [move for kind in sorted(troubles) for move in TROUBLES[kind]]
    move = st.tuples(st.sampled_from(possible), st.sampled_from(["settle", "settle", "at once"]))
    start = {
        "max_bytes": draw(st.sampled_from([10**9, 10**9, 4000])),
        "connected": draw(st.sampled_from([True, True, False])),
    }
    return start, draw(st.lists(move, min_size=MOVES // 2, max_size=MOVES))


@contextmanager
def directory():
    """Make a directory where an fsync costs nothing, if there is such a place."""
    path = tempfile.mkdtemp(prefix="spool-model-", dir=MEMORY if MEMORY.is_dir() else None)
    try:
        yield Path(path)
    finally:
        shutil.rmtree(path)


class Interleavings:
    """What may happen, and what must hold whatever happens."""

    def __init__(self, path, *, max_bytes, connected):
        self.bridge = Bridge(path, max_bytes=max_bytes)
        self.broker = self.bridge.broker
        self.numbers = 0
        if connected:
            self.broker.connect()

    def play(self, moves):
        """Make every move and check the rules after it."""
        for (name, *arguments), then in moves:
            getattr(self, name)(*arguments)
            if then == "settle":
                self.bridge.loop.settle()
            self.rules_are_kept()

    # Callers

    def send(self, records, exchange):
        """Hand over some messages at once."""
        for record in records:
            self.numbers += 1
            self.bridge.send(self.numbers, record=record, exchange=exchange)

    def hang_up(self, which):
        """A caller goes away."""
        waiting = [sent for sent in self.bridge.sent if not sent.task.done()]
        if waiting:
            waiting[which % len(waiting)].task.cancel()

    # Broker

    def confirm(self, which):
        """Settle one publish."""
        if self.broker.in_flight:
            self.broker.confirm(which % len(self.broker.in_flight))

    def confirm_all(self):
        """Settle all that is on the wire."""
        self.broker.confirm_all()

    def nack(self, which):
        """Refuse one publish."""
        if self.broker.in_flight:
            self.broker.nack(which % len(self.broker.in_flight))

    def lose(self, processed, back):
        """The connection goes, after some of what was on the wire had been processed."""
        self.broker.lose(processed)
        if back:
            self.connect()

    def close_channel(self, back):
        """The broker closes the channel, with everything on it."""
        self.broker.close_channel()
        if back:
            self.connect()

    def connect(self):
        """The next connection, after some time: only who waits for the disk may not notice."""
        self.bridge.loop.settle()
        self.broker.connect(proven=not self.bridge.disk.flows)
        self.bridge.loop.advance(0.11)

    def block(self):
        """Block, freeze, or the end of it: publishes stay as they are."""
        self.broker.blocked = not self.broker.blocked

    def gone(self, exchange):
        """An exchange is deleted."""
        self.broker.gone(exchange)

    def back(self, exchange):
        """An exchange is declared again."""
        self.broker.exchanges.add(exchange)

    def toggle_full(self, record):
        """A queue begins or ends to refuse a record."""
        self.broker.full ^= {record}

    def spoil(self, which, what):
        """A message is too large for the broker, or nobody wants it."""
        if self.bridge.sent:
            sent = self.bridge.sent[-1 - which % len(self.bridge.sent)]
            getattr(self.broker, what).add(sent.id)

    # Clock

    def wait(self, seconds):
        """Time passes."""
        self.bridge.loop.advance(seconds)

    def jump(self, seconds):
        """Much time passes at once."""
        self.bridge.loop.jump(seconds)

    # Disk

    def step_disk(self, step):
        """The disk is slow: it does one thing, and nothing more until it is told."""
        self.bridge.disk.flows = False
        if step is not None:
            getattr(self.bridge.disk, step)()

    def release_disk(self):
        """The disk works by itself again."""
        self.bridge.disk.flows = True

    def disk_space(self, state):
        """Every write fails, or the file cannot grow, or all is well again."""
        self.bridge.disk.refuse(state == "refuses")
        self.bridge.disk.fill(state == "full")

    # Process

    def kill(self):
        """The process is killed and started again on the same spool."""
        self.bridge.kill()
        self.bridge.start()

    # What must hold at any time

    def rules_are_kept(self):
        """No rule of the wire was broken, nothing was raised, no count is below zero."""
        assert [] == self.broker.broken
        assert [] == self.bridge.loop.failures
        assert not self.bridge.running.done()
        assert 0 <= self.bridge.drain.backlog
        assert 0 <= self.bridge.spool.events
        assert 0 <= self.bridge.spool.bytes
        self.nobody_waits_too_long()
        self.nothing_is_parked_early()

    def nobody_waits_too_long(self):
        """An answer takes no longer than the deadline and the disk."""
        for sent in self.bridge.sent:
            sent.disk_was_slow |= not self.bridge.disk.flows
            waited = self.bridge.loop.time() - sent.at
            if not (sent.task.done() or sent.disk_was_slow):
                assert waited < DEADLINE + 0.001, f"{sent.id} waits for {waited} s"

    def nothing_is_parked_early(self):
        """Nothing is given up before its tries are used."""
        for message_id, reason in self.broker.parked.items():
            if reason == "refused":
                assert REFUSED_TRIES <= self.broker.refusals[message_id]

    # What must hold in the end

    def all_goes_well(self):
        """First the others are served, while some queues still refuse; then everybody."""
        self.bridge.heal()
        for rounds in range(60):
            drain = self.bridge.drain
            self.bridge.loop.jump(120.0 if drain.held_places or drain.is_sweeping else 1.1)
            self.bridge.live()
            suspects = any(not held.tries for held in drain._holding.held)
            waits = drain.backlog or drain.held_places or drain.is_sweeping or suspects
            if rounds > 3 and not waits:
                break
        self.refused_hold_up_only_themselves()
        self.broker.full.clear()
        self.bridge.quiesce(jump=20_000.0)
        self.rules_are_kept()
        self.promises_are_kept(self.bridge.sent)
        self.order_is_kept()
        self.nothing_is_left()

    def refused_hold_up_only_themselves(self):
        """Whoever was never refused has been published."""
        sent = self.bridge.sent
        refused = {s.message.record for s in sent if self.broker.refusals[s.id]} | self.broker.full
        others = [
            s for s in sent if not self.broker.refusals[s.id] and s.message.record not in refused
        ]
        assert 0 == self.bridge.drain.backlog
        self.promises_are_kept(others)

    def promises_are_kept(self, promised):
        """Everything accepted is in its exchange, in unrouted or parked."""
        routed = set(self.broker.routed)
        for sent in promised:
            in_exchange = (sent.message.exchange, sent.id) in routed
            elsewhere = sent.id in self.broker.unrouted or sent.id in self.broker.parked
            match sent.outcome:
                case Outcome.CONFIRMED:
                    assert in_exchange, f"{sent.id} was confirmed"
                case Outcome.UNROUTED:
                    assert sent.id in self.broker.unrouted
                case Outcome.SPOOLED:
                    assert in_exchange or elsewhere, f"{sent.id} was spooled and is lost"

    def order_is_kept(self):
        """First copies in an exchange are in the order of acceptance, record by record."""
        first: dict[object, int] = {}
        for place, copy in enumerate(self.broker.routed):
            first.setdefault(copy, place)
        places = defaultdict(list)
        for sent in self.bridge.sent:
            exchange, record = sent.message.exchange, sent.message.record
            copy = (exchange, sent.id)
            if sent.accepted and record and sent.id not in self.broker.parked and copy in first:
                places[exchange, record].append((first[copy], sent.id))
        for copies in places.values():
            assert sorted(copies) == copies

    def nothing_is_left(self):
        """Counters and memory are back at zero, and agree with the database."""
        bridge = self.bridge
        bridge.loop.settle()
        assert (0, 0) == (bridge.spool.events, bridge.spool.bytes) == bridge.disk.counted()
        assert 0 == bridge.drain.backlog
        assert 0 == bridge.drain.held_records
        assert 0 == len(bridge.outbox._fifo)
        assert all(sent.task.done() for sent in bridge.sent)
        bridge.drain_is_empty()
        assert not bridge.drain._waiting._handed


# The fixture stands for all examples: no thread is started in any of them.
@settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(examples())
def test_interleavings(without_threads, example):
    """Whatever callers, broker, disk and clock do, and in whatever order, the rules hold."""
    start, moves = example
    with directory() as path:
        model = Interleavings(path, **start)
        try:
            model.play(moves)
            model.all_goes_well()
        finally:
            model.bridge.kill()
