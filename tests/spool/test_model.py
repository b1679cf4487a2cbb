"""Every interleaving of callers, broker, disk and clock that hypothesis can think of."""

import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridge.core.message import PARKED
from bridge.ports import Outcome
from tests.spool.bridge_under_test import DEADLINE, EXCHANGES, REFUSED_TRIES, Bridge

RECORDS = [("superoffice", "Cust1", "contact", 1), ("superoffice", "Cust1", "contact", "x"), None]
WHICH = st.integers(0, 7)
BACK = st.sampled_from([True, True, False])
MEMORY = Path("/dev/shm")  # noqa: S108  # where an fsync costs nothing


TROUBLES = ("channel", "exchange", "refusal", "block", "disk", "space", "process", "callers")


def trouble(kind):
    """Let a rule apply only where this kind of trouble was chosen: few kinds go deeper than all."""
    return precondition(lambda self: kind in self.troubles)


class Interleavings(RuleBasedStateMachine):
    """What may happen, and what must hold whatever happens."""

    def __init__(self):
        super().__init__()
        memory = MEMORY if MEMORY.is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="spool-model-", dir=memory))
        self.numbers = 0
        self.bridge: Any = None
        self.sound = True
        self.troubles: frozenset[str] = frozenset()

    @initialize(
        max_bytes=st.sampled_from([10**9, 10**9, 4000]),
        connected=st.sampled_from([True, True, False]),
        troubles=st.frozensets(st.sampled_from(TROUBLES), min_size=1, max_size=3),
    )
    def begin(self, max_bytes, connected, troubles):
        """Start a process on an empty spool, large or small."""
        self.troubles = troubles
        self.bridge = Bridge(self.directory, max_bytes=max_bytes)
        self.broker = self.bridge.broker
        if connected:
            self.broker.connect()

    def turn(self, run):
        """Let the loop run, or let the next thing happen in the same instant."""
        if run:
            self.bridge.loop.settle()

    # Callers

    @rule(
        records=st.lists(st.sampled_from(RECORDS), min_size=1, max_size=4),
        exchange=st.sampled_from([*EXCHANGES, EXCHANGES[0]]),
        run=st.booleans(),
    )
    def send(self, records, exchange, run):
        """Hand over some messages at once."""
        for record in records:
            self.numbers += 1
            self.bridge.send(self.numbers, record=record, exchange=exchange)
        self.turn(run)

    @trouble("callers")
    @precondition(lambda self: any(not sent.task.done() for sent in self.bridge.sent))
    @rule(which=WHICH)
    def hang_up(self, which):
        """A caller goes away."""
        waiting = [sent for sent in self.bridge.sent if not sent.task.done()]
        waiting[which % len(waiting)].task.cancel()
        self.bridge.loop.settle()

    # Broker

    @precondition(lambda self: self.broker.in_flight)
    @rule(which=WHICH, run=st.booleans())
    def confirm(self, which, run):
        """Settle one publish."""
        self.broker.confirm(which % len(self.broker.in_flight))
        self.turn(run)

    @trouble("refusal")
    @precondition(lambda self: self.broker.in_flight)
    @rule(which=WHICH, run=st.booleans())
    def nack(self, which, run):
        """Refuse one publish."""
        self.broker.nack(which % len(self.broker.in_flight))
        self.turn(run)

    @precondition(lambda self: self.broker.in_flight)
    @rule(run=st.booleans())
    def confirm_all(self, run):
        """Settle all that is on the wire."""
        self.broker.confirm_all()
        self.turn(run)

    @trouble("channel")
    @precondition(lambda self: self.broker.connected)
    @rule(processed=WHICH, back=BACK, run=st.booleans())
    def lose(self, processed, back, run):
        """The connection goes, after some of what was on the wire had been processed."""
        self.broker.lose(processed)
        self.turn(run or back)
        self.connect(back)

    @trouble("channel")
    @precondition(lambda self: self.broker.connected)
    @rule(back=BACK, run=st.booleans())
    def close_channel(self, back, run):
        """The broker closes the channel, with everything on it."""
        self.broker.close_channel()
        self.turn(run or back)
        self.connect(back)

    @precondition(lambda self: not self.broker.connected)
    @rule(back=st.just(True))
    def connect(self, back):
        """The next connection, after some time: only who waits for the disk may not notice."""
        if back:
            self.bridge.loop.settle()
            self.broker.connect(proven=not self.bridge.disk.flows)
            self.bridge.loop.advance(0.11)

    @trouble("block")
    @precondition(lambda self: self.broker.connected)
    @rule(run=st.booleans())
    def block(self, run):
        """Block, freeze, or the end of it: publishes stay as they are."""
        self.broker.blocked = not self.broker.blocked
        self.turn(run)

    @trouble("exchange")
    @rule(exchange=st.sampled_from([*EXCHANGES, PARKED]), run=st.booleans())
    def toggle_exchange(self, exchange, run):
        """An exchange is deleted, or declared again."""
        if self.broker.takes(exchange):
            self.broker.gone(exchange)
        else:
            self.broker.exchanges.add(exchange)
        self.turn(run)

    @trouble("refusal")
    @rule(record=st.sampled_from(RECORDS[:2]))
    def toggle_full(self, record):
        """A queue begins or ends to refuse a record."""
        self.broker.full ^= {record}

    @trouble("channel")
    @precondition(lambda self: self.bridge.sent)
    @rule(which=WHICH, what=st.sampled_from(["poison", "unbound"]))
    def spoil(self, which, what):
        """A message is too large for the broker, or nobody wants it."""
        sent = self.bridge.sent[-1 - which % len(self.bridge.sent)]
        getattr(self.broker, what).add(sent.id)

    # Clock

    @rule(seconds=st.sampled_from([0.01, 0.11, 0.3, 1.0, DEADLINE, 5.0]))
    def wait(self, seconds):
        """Time passes."""
        self.bridge.loop.advance(seconds)

    @rule(seconds=st.sampled_from([1.1, 4.1, 17.0, 70.0, 601.0, 5000.0]))
    def jump(self, seconds):
        """Much time passes at once."""
        self.bridge.loop.jump(seconds)

    # Disk

    @trouble("disk")
    @rule(step=st.sampled_from(["commit", "select", "answer", None]), run=st.booleans())
    def step_disk(self, step, run):
        """The disk is slow: it does one thing, and nothing more until it is told."""
        self.bridge.disk.flows = False
        if step is not None:
            getattr(self.bridge.disk, step)()
        self.turn(run)

    @precondition(lambda self: not self.bridge.disk.flows)
    @rule()
    def release_disk(self):
        """The disk works by itself again."""
        self.bridge.disk.flows = True
        self.bridge.loop.settle()

    @trouble("space")
    @rule(state=st.sampled_from(["well", "well", "refuses", "full"]))
    def disk_space(self, state):
        """Every write fails, or the file cannot grow, or all is well again."""
        self.bridge.disk.refuse(state == "refuses")
        self.bridge.disk.fill(state == "full")

    # Process

    @trouble("process")
    @rule()
    def kill(self):
        """The process is killed and started again on the same spool."""
        self.bridge.kill()
        self.bridge.start()

    # What must hold at any time

    @invariant()
    def rules_are_kept(self):
        """No rule of the wire was broken, nothing was raised, no count is below zero."""
        if self.bridge is None:
            return
        bridge, self.sound = self.bridge, False
        assert not self.broker.broken, self.broker.broken
        assert not bridge.loop.failures, bridge.loop.failures
        assert not bridge.running.done()
        assert bridge.drain.backlog >= 0
        assert bridge.spool.events >= 0
        assert bridge.spool.bytes >= 0
        self.nobody_waits_too_long()
        self.nothing_is_parked_early()
        self.sound = True

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
                assert self.broker.refusals[message_id] >= REFUSED_TRIES

    # What must hold in the end

    def teardown(self):
        """Whatever was promised is kept once all is well again."""
        if self.bridge is not None:
            try:
                if self.sound:
                    self.all_goes_well()
            finally:
                self.bridge.kill()
        shutil.rmtree(self.directory)

    def all_goes_well(self):
        """First the others are served, while some queues still refuse; then everybody."""
        self.bridge.heal()
        for rounds in range(60):
            self.bridge.loop.jump(1.1)
            self.bridge.live()
            if rounds > 3 and self.bridge.drain.backlog == 0:
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
        refused = {s.message.record for s in self.bridge.sent if self.broker.refusals[s.id]}
        refused |= self.broker.full
        others = [
            s
            for s in self.bridge.sent
            if not self.broker.refusals[s.id]
            and not (s.message.record and s.message.record in refused)
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
        assert 0 == len(bridge.outbox._lines) == len(bridge.drain._lines)
        assert all(sent.task.done() for sent in bridge.sent)
        for left in ("_active", "_waiting", "_attached", "_suspects"):
            assert not getattr(bridge.drain, left), left


def test_interleavings(without_threads):
    """Whatever callers, broker, disk and clock do, and in whatever order, the rules hold."""
    examples = settings().max_examples
    bounded = settings(max_examples=examples, stateful_step_count=40)
    run_state_machine_as_test(Interleavings, settings=bounded)
