"""Rows that are read before the window has room for them."""

import pytest

from bridge.core.publish import WINDOW
from bridge.delivery.rows import ATTACHED, GONE, ON_TRIAL, UNREAD, Rows
from tests.delivery.bridge_under_test import DEADLINE, Bridge
from tests.delivery.test_interleavings import finish, routed


@pytest.fixture
def bridge(tmp_path, without_threads):
    """Return a bridge that is connected."""
    bridge = Bridge(tmp_path)
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    yield bridge
    assert not bridge.broker.broken
    assert not bridge.loop.failures
    bridge.kill()


def record(number):
    """Return the record of an event that shares it with no other."""
    return ("superoffice", None, "contact", number)


def spool(bridge, numbers):
    """Have these events on the disk, and the broker blocked."""
    bridge.broker.blocked = True
    for number in numbers:
        bridge.send(number, record=record(number))
    bridge.loop.settle()


# 1. three windows of rows are spooled while the broker is blocked
# 2. the first window is on the wire; the disk answers no more
# 3. the broker confirms, and the second window is published all the same
def test_the_next_rows_are_read_while_others_are_on_the_wire(bridge):
    """When the broker confirms, the drain need not wait for the disk."""
    numbers = list(range(1, 3 * WINDOW + 1))
    spool(bridge, numbers)
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    bridge.broker.confirm_all()
    bridge.loop.settle()
    bridge.disk.flows = False
    bridge.broker.confirm_all()
    bridge.loop.settle()

    assert WINDOW == len(bridge.broker.in_flight)
    bridge.disk.flows = True
    finish(bridge)
    assert numbers == routed(bridge)


# 1. more rows than a window are spooled while the broker is blocked
# 2. 0 is nacked; its row is the last, and held
# 3. a window of rows is on the wire, and all others are read
# 4. 0 is tried and confirmed, and then its row is reached
def test_a_row_that_goes_after_it_was_read(bridge):
    """It is not published once more."""
    numbers = list(range(1, WINDOW + 10))
    spool(bridge, numbers)
    bridge.disk.flows = False
    bridge.broker.blocked = False
    bridge.broker.full.add(record(0))
    bridge.send(0, record=record(0))
    bridge.loop.settle()
    bridge.broker.confirm(0)
    bridge.loop.settle()
    bridge.disk.flows = True
    bridge.broker.full.clear()
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.advance(DEADLINE * 0.9)
    rows, last = bridge.drain._rows, bridge.spool.last_seq
    before = (rows[last], rows.read_to, rows.cursor < last)
    [trial] = [index for index, flight in enumerate(bridge.broker.in_flight) if flight.alone]
    bridge.broker.confirm(trial)
    bridge.loop.settle()
    finish(bridge)

    assert (ON_TRIAL, last, True) == before
    assert [0, *numbers] == sorted(routed(bridge))


def test_rows_that_have_gone_are_remembered_until_they_are_reached():
    """Only those are that were read: others cannot come from the disk any more."""
    rows = Rows(backlog=3)
    rows.read_to = 2
    for seq in (2, 3):
        rows.move(seq, ATTACHED)
        rows.move(seq, GONE)

    assert [UNREAD, GONE] == [rows.reach(1), rows.reach(2)]
    assert (0, 2) == (len(rows._gone), rows.cursor)
