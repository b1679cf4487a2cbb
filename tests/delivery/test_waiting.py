"""New events wait for those of their own record alone, whatever else waits on the disk.

First examples of a start with events on the disk, then of the rest of a life, then whatever
hypothesis can think of.
"""

import asyncio
import sqlite3
from collections import defaultdict
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.event import record_of
from bridge.core.publish import Outcome
from bridge.delivery import waiting
from bridge.spool import Spool
from bridge.spool.rowcodec import record_key, record_keys, row_to_store
from tests.delivery.bridge_under_test import DEADLINE, Bridge
from tests.delivery.test_interleavings import finish, routed
from tests.delivery.test_model import directory
from tests.helpers import message

WAITING = 40


def record(number):
    """Return one of many records."""
    return "superoffice", "Cust1", "sale", number


@pytest.fixture
def bridge(tmp_path, without_threads, monkeypatch):
    """Return a bridge that was killed with events on the disk and is started again."""
    monkeypatch.setattr(waiting, "_AT_ONCE", 8)
    bridge = Bridge(tmp_path)
    for number in range(WAITING):
        bridge.send(number, record=record(number))
    bridge.loop.settle()
    bridge.kill()
    yield bridge
    assert not bridge.broker.broken
    assert not bridge.loop.failures
    bridge.kill()


def start(bridge):
    """Start and connect it; the first event of the spool is on the wire."""
    bridge.start()
    bridge.loop.advance(0.1)
    bridge.broker.connect()
    bridge.loop.advance(0.2)


def on_the_wire(bridge):
    """Return the numbers of what was published and has no outcome yet."""
    return [int(flight.id.removeprefix("event-")) for flight in bridge.broker.in_flight]


def test_new_event_of_another_record(bridge):
    """It is published at once, and so is one without a record."""
    start(bridge)
    bridge.send(100, record=record(100))
    bridge.send(101, record=None)
    bridge.loop.settle()

    assert [0, 100, 101] == on_the_wire(bridge)
    finish(bridge)


def test_new_event_of_a_record_that_waits(bridge):
    """It comes behind the others of its record."""
    start(bridge)
    bridge.send(100, record=record(30))
    bridge.loop.settle()

    assert [0] == on_the_wire(bridge)
    finish(bridge)
    assert routed(bridge).index(30) < routed(bridge).index(100)


def test_two_new_events_of_a_record(bridge):
    """What was spooled since the start counts like what was there."""
    start(bridge)
    bridge.broker.blocked = True
    bridge.send(100, record=record(100))
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.send(101, record=record(100))
    bridge.loop.settle()

    assert not {100, 101} & set(on_the_wire(bridge))
    finish(bridge)
    assert routed(bridge).index(100) < routed(bridge).index(101)


def test_before_all_records_are_known(bridge, monkeypatch):
    """Until then every new event waits."""
    known, look_up = asyncio.Event(), Spool.record_keys

    async def slowly(*arguments, **options):
        await known.wait()
        return await look_up(*arguments, **options)

    monkeypatch.setattr(Spool, "record_keys", slowly)
    start(bridge)
    bridge.send(100, record=record(100))
    bridge.loop.settle()
    before = on_the_wire(bridge)
    known.set()
    bridge.loop.advance(0.2)
    bridge.send(101, record=record(101))
    bridge.loop.settle()

    assert [] == before
    assert [0, 101] == on_the_wire(bridge)
    finish(bridge)


def test_when_nothing_waits_any_more(bridge):
    """What is handed to the disk then holds up its own record, and nothing that waited before."""
    start(bridge)
    finish(bridge)
    bridge.live()
    outage(bridge, 100)
    for number, key in ((101, 101), (102, 100), (103, 30)):
        bridge.send(number, record=record(key))
    bridge.loop.settle()

    assert {100, 101, 103} == set(on_the_wire(bridge))
    finish(bridge)
    assert routed(bridge).index(100) < routed(bridge).index(102)


def outage(bridge, *keys):
    """Have an event of each record go to the disk, as fast as that is."""
    bridge.broker.blocked = True
    for key in keys:
        bridge.send(key, record=record(key))
    bridge.loop.settle()
    bridge.broker.blocked = False


def test_disk_that_refuses_and_the_broker_is_back(bridge):
    """What another program's lock keeps from the disk holds up its record, and only until then."""
    start(bridge)
    bridge.disk.flows = False
    outage(bridge, 100)
    others = [bridge.send(101, record=record(101)), bridge.send(102, record=None)]
    behind = bridge.send(103, record=record(100))
    bridge.loop.settle()
    before = on_the_wire(bridge)
    bridge.disk.refuse(True)
    bridge.disk.commit()
    bridge.loop.settle()
    again = bridge.send(104, record=record(100))
    bridge.loop.settle()
    bridge.broker.confirm_all()
    bridge.loop.settle()

    assert [0, 101, 102] == before
    assert Outcome.NOT_SENT is behind.outcome
    assert {Outcome.CONFIRMED} == {sent.outcome for sent in (*others, again)}
    bridge.heal()
    finish(bridge)


def test_disk_that_refuses_only_the_first_of_a_record(bridge):
    """The second, which was handed over before that was known, holds up the third."""
    start(bridge)
    bridge.disk.flows = False
    outage(bridge, 100)
    bridge.disk.refuse(True)
    bridge.disk.commit()
    bridge.send(101, record=record(100))
    bridge.loop.settle()
    bridge.disk.refuse(False)
    bridge.send(102, record=record(100))
    bridge.loop.settle()

    assert [0] == on_the_wire(bridge)
    bridge.heal()
    finish(bridge)
    assert routed(bridge).index(101) < routed(bridge).index(102)


def test_disk_that_hangs_and_the_broker_is_back(bridge):
    """What is in the hung transaction holds up its own record until the disk answers."""
    start(bridge)
    bridge.disk.flows = False
    outage(bridge, 100)
    bridge.disk.hang(True)
    behind = bridge.send(101, record=record(100))
    others = [bridge.send(number, record=record(number)) for number in (102, 103)]
    bridge.loop.settle()
    bridge.broker.confirm_all()
    bridge.loop.settle()

    assert Outcome.NOT_SENT is behind.outcome
    assert {Outcome.CONFIRMED} == {sent.outcome for sent in others}
    assert not bridge.drain.holds_up_all
    bridge.disk.hang(False)
    bridge.heal()
    bridge.send(104, record=record(100))
    bridge.loop.settle()
    assert 104 not in on_the_wire(bridge)
    finish(bridge)
    assert routed(bridge).index(100) < routed(bridge).index(104)


@pytest.mark.parametrize(
    "meta", ["x'00'", "x'ff5b'", "'[1, 2]'", '\'["text/plain", "x", 0, {}, null]\'']
)
def test_row_that_has_no_record(bridge, tmp_path, meta):
    """The records of all others are known all the same."""
    change(tmp_path, meta)
    start(bridge)
    bridge.send(100, record=record(100))
    bridge.loop.settle()

    assert [0, 100] == on_the_wire(bridge)
    finish(bridge)


def test_records_that_cannot_be_looked_up(bridge, monkeypatch):
    """Then every new event waits, and all arrive."""

    async def fail(*arguments, **options):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Spool, "record_keys", fail)
    start(bridge)
    bridge.send(100, record=record(100))
    bridge.loop.settle()

    assert [0] == on_the_wire(bridge)
    finish(bridge)


def test_row_of_an_older_version(bridge, tmp_path):
    """The case of the entity does not count there either."""
    change(tmp_path, """replace(CAST(meta AS TEXT), '"sale"', '"Sale"')""")
    start(bridge)
    bridge.send(100, record=record(19))
    bridge.loop.settle()

    assert [0] == on_the_wire(bridge)
    finish(bridge)


def test_place_that_recovers_while_the_disk_hangs(bridge):
    """Its rows wait for the disk to answer; new events of other records do not."""
    bridge.start()
    bridge.broker.connect()
    finish(bridge)
    bridge.send(100, record=record(100))
    bridge.loop.advance(DEADLINE + 0.2)
    bridge.disk.flows = False
    bridge.send(101, record=record(101))
    bridge.loop.settle()
    bridge.disk.hang(True)
    bridge.broker.confirm_all()
    bridge.loop.settle()
    behind = bridge.send(102, record=record(101))
    others = [bridge.send(103, record=record(103)), bridge.send(104, record=None)]
    bridge.loop.settle()
    bridge.broker.confirm_all()
    bridge.loop.settle()

    assert Outcome.NOT_SENT is behind.outcome
    assert {Outcome.CONFIRMED} == {sent.outcome for sent in others}
    bridge.disk.hang(False)
    bridge.heal()
    for _ in range(20):
        bridge.live(1.0)
    finish(bridge)
    assert 101 in routed(bridge)


TEXTS = st.text(st.characters(codec="utf-8")) | st.sampled_from(
    ["a,[b", "]", '"', "\0", "\\", "ΑΣ"]
)


@given(st.lists(st.tuples(TEXTS, st.none() | TEXTS, TEXTS, st.integers(0, 2**63) | TEXTS)))
def test_every_record_is_found(records):
    """Whatever texts a record has, its key is among those of the rows."""
    stored = [
        row_to_store(0, 0.0, 0, message(record=record, headers={"a": "},[["}))[1]
        for record in records
    ]
    keys = record_keys(b"\0".join(stored))

    assert {record_key(record) for record in records} <= set(keys)
    assert {record_key(record_of(*record)) for record in records} <= set(keys)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.lists(st.integers(0, 5), min_size=1, max_size=4)),
        st.tuples(st.just("send_first_of_record")),
        st.tuples(st.just("block"), st.booleans()),
        st.tuples(st.just("confirm"), st.integers(0, 9)),
        st.tuples(st.just("lose")),
        st.tuples(st.just("pass_time")),
        st.tuples(st.just("step_disk"), st.sampled_from(["commit", "select", "answer"])),
        st.tuples(st.just("release_disk")),
        st.tuples(st.just("refuse"), st.booleans()),
        st.tuples(st.just("kill")),
    ),
    min_size=10,
    max_size=60,
)


class Backlog:
    """A bridge with something on the disk, most of the time, and new events beside that."""

    def __init__(self, path):
        self.bridge = Bridge(path)
        self.bridge.broker.connect()
        self.numbers = 0

    def send(self, keys):
        """Hand over events of a few records, at once."""
        for key in keys:
            self.numbers += 1
            self.bridge.send(self.numbers, record=record(key))

    def send_first_of_record(self):
        """Hand over an event of a record that has no other: it must not wait for anything."""
        self.bridge.loop.settle()
        drain, broker = self.bridge.drain, self.bridge.broker
        waits = drain.holds_up_all or drain.held_places or not broker.is_up
        self.send([1000 + self.numbers])
        self.bridge.loop.settle()
        assert waits or self.numbers in on_the_wire(self.bridge), "it waits"

    def block(self, blocked):
        """Let the broker stand still, or go on."""
        self.bridge.broker.blocked = blocked

    def confirm(self, which):
        """Settle one publish."""
        if self.bridge.broker.in_flight:
            self.bridge.broker.confirm(which % len(self.bridge.broker.in_flight))

    def lose(self):
        """Lose the connection, and make another one."""
        self.bridge.broker.lose(1)
        self.bridge.loop.settle()
        self.bridge.broker.connect(proven=True)

    def pass_time(self):
        """Let the drain look again."""
        self.bridge.loop.advance(0.11)

    def step_disk(self, step):
        """The disk does one thing, and nothing more until it is told."""
        self.bridge.disk.flows = False
        getattr(self.bridge.disk, step)()

    def release_disk(self):
        """The disk works by itself again."""
        self.bridge.disk.flows = True

    def refuse(self, refuses):
        """Every write fails, or works again."""
        self.bridge.disk.refuse(refuses)

    def kill(self):
        """The process is killed and started again."""
        self.bridge.kill()
        self.bridge.start()
        self.bridge.broker.connect(proven=True)

    def end(self):
        """All goes well again: what was accepted arrives, the first copies in order."""
        self.bridge.heal()
        finish(self.bridge)
        arrived = {number: at for at, number in reversed([*enumerate(routed(self.bridge))])}
        lines = defaultdict(list)
        for sent in self.bridge.sent:
            if sent.accepted:
                number = int(sent.id.removeprefix("event-"))
                lines[sent.message.record].append(arrived[number])
        assert all(line == sorted(line) for line in lines.values())
        assert not self.bridge.drain._waiting._handed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(MOVES)
def test_new_events_beside_a_backlog(without_threads, monkeypatch, moves):
    """Those of its record hold up an event, those of others do not, whatever happens."""
    with directory() as path, monkeypatch.context() as patch:
        patch.setattr(waiting, "_AT_ONCE", 2)
        backlog = Backlog(path)
        try:
            for name, *arguments in moves:
                getattr(backlog, name)(*arguments)
                assert not backlog.bridge.broker.broken
                assert not backlog.bridge.loop.failures
            backlog.end()
        finally:
            backlog.bridge.kill()


def change(path, meta):
    """Damage what a row says of its message."""
    with closing(sqlite3.connect(path / "spool.db", isolation_level=None)) as database:
        database.execute(f"UPDATE event SET meta = {meta} WHERE seq = 20")  # noqa: S608
