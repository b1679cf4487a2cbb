"""After a start with events on the disk, new ones of other records do not wait for them."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import unread
from bridge.core.event import record_of
from bridge.spool import Spool
from bridge.spool.rows import record_key, record_keys, row_to_store
from tests.helpers import message
from tests.spool.bridge_under_test import Bridge
from tests.spool.test_interleavings import finish, routed

WAITING = 40


def record(number):
    """Return one of many records."""
    return "superoffice", "Cust1", "sale", number


@pytest.fixture
def bridge(tmp_path, without_threads, monkeypatch):
    """Return a bridge that was killed with events on the disk and is started again."""
    monkeypatch.setattr(unread, "_AT_ONCE", 8)
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
    """The usual rule holds again: behind a backlog all new events wait."""
    start(bridge)
    finish(bridge)
    bridge.live()
    bridge.broker.blocked = True
    bridge.send(100, record=record(100))
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.send(101, record=record(101))
    bridge.loop.settle()

    assert 101 not in on_the_wire(bridge)
    finish(bridge)


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


def change(directory, meta):
    """Damage what a row says of its message."""
    with closing(sqlite3.connect(directory / "spool.db", isolation_level=None)) as database:
        database.execute(f"UPDATE event SET meta = {meta} WHERE seq = 20")  # noqa: S608
