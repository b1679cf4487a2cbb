"""Rows that another program has deleted: nobody waits for them."""

import pytest

from tests.delivery.bridge_under_test import Bridge
from tests.delivery.test_interleavings import ANOTHER, RECORD, finish, routed


@pytest.fixture
def bridge(tmp_path, without_threads):
    """Return a bridge that is not connected."""
    bridge = Bridge(tmp_path)
    yield bridge
    assert not bridge.broker.broken
    assert not bridge.loop.failures
    bridge.kill()


def test_row_that_was_called(bridge):
    """The row that was in flight when the connection was lost is gone: the others go on."""
    for number in range(1, 4):
        bridge.send(number, record=RECORD)
    bridge.send(4, record=ANOTHER)
    bridge.loop.settle()
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    assert ["event-1"] == [flight.id for flight in bridge.broker.in_flight]
    bridge.broker.lose()
    bridge.disk.delete(1)
    finish(bridge, rounds=10)

    assert {2, 3, 4} == set(routed(bridge))


@pytest.mark.parametrize("seconds", [None, 0.0, 0.5])
def test_rows_that_were_read_before_an_outage(bridge, seconds):
    """They are read again, however short it is: those that are gone are not published."""
    for number in range(1, 5):
        bridge.send(number, record=None)
    bridge.loop.settle()
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    assert ["event-1"] == [flight.id for flight in bridge.broker.in_flight]
    bridge.broker.lose()
    if seconds is not None:
        bridge.loop.advance(seconds)
    bridge.disk.delete(2, 3)
    for _ in range(5):
        bridge.live()

    assert [1, 4] == sorted(routed(bridge))
    assert 0 == bridge.drain.backlog


def test_rows_that_were_read_before_the_broker_blocked(bridge):
    """The connection stays, and they are read again all the same."""
    for number in range(1, 5):
        bridge.send(number, record=None)
    bridge.loop.settle()
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    bridge.broker.blocked = True
    bridge.loop.advance(0.5)
    bridge.disk.delete(2, 3)
    for _ in range(5):
        bridge.live()

    assert [1, 4] == sorted(routed(bridge))


def test_rows_that_were_being_read_in_an_outage(bridge, monkeypatch):
    """The answer of the disk is older than the connection: it is asked again."""

    async def read_and_lose(**options):
        rows = await read(**options)
        if bridge.broker.connection == 1:
            bridge.broker.lose()
            bridge.broker.connect()
            bridge.disk.delete(2, 3)
        return rows

    for number in range(1, 5):
        bridge.send(number, record=None)
    bridge.loop.settle()
    read = bridge.spool.read
    monkeypatch.setattr(bridge.spool, "read", read_and_lose)
    for _ in range(5):
        bridge.live()

    assert 2 == bridge.broker.connection
    assert [1, 4] == sorted(routed(bridge))


def test_rows_in_line(bridge):
    """Rows that were read, and wait in line behind another of their record, are gone, too."""
    for number in range(1, 5):
        bridge.send(number, record=RECORD)
    bridge.loop.settle()
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.settle()
    bridge.disk.delete(3)
    finish(bridge, rounds=10)

    assert [1, 2, 4] == routed(bridge)


def test_row_that_was_held(bridge):
    """A refused row that is gone keeps no later one of its record waiting."""
    bridge.broker.connect()
    bridge.broker.full.add(RECORD)
    for number in range(1, 3):
        bridge.send(number, record=RECORD)
    bridge.live(0)
    bridge.live(0)
    bridge.disk.delete(1)
    bridge.broker.full.clear()
    finish(bridge, jump=5.0)

    assert [2] == routed(bridge)
    assert 0 == bridge.drain.held_records


def test_row_that_was_not_read(bridge):
    """What is gone before it was read does not count as backlog: new events go directly."""
    for number in range(1, 4):
        bridge.send(number, record=None)
    bridge.loop.settle()
    bridge.disk.delete(2)
    for _ in range(5):
        bridge.live()
    bridge.send(4, record=None)
    bridge.loop.settle()

    assert 0 == bridge.drain.backlog
    assert ["event-4"] == [flight.id for flight in bridge.broker.in_flight]
    bridge.live()
