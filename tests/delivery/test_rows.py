"""The table of a row's states: what it says, and that each of its moves happens."""

import inspect
from itertools import product

import pytest

from bridge.delivery.held import held_rows
from bridge.delivery.rows import (
    ATTACHED,
    DUE,
    GONE,
    HELD,
    IN_LINE,
    MOVES,
    ON_TRIAL,
    ON_WIRE,
    PARKING,
    PASSED_OVER,
    SILENT,
    UNREAD,
    IllegalMove,
    Rows,
)
from tests.delivery import test_interleavings as interleavings
from tests.delivery.bridge_under_test import DEADLINE, Bridge
from tests.delivery.test_interleavings import ANOTHER, RECORD, among_others, finish, routed

LEGAL = {(was, to) for was, moves in MOVES.items() for to in moves}


@pytest.fixture
def bridge(tmp_path, without_threads):
    """Return a bridge that is connected."""
    bridge = connected(tmp_path)
    yield bridge
    assert not bridge.broker.broken
    assert not bridge.loop.failures
    bridge.kill()


def connected(path):
    """Return a bridge that is connected, and whose drain has noticed that."""
    bridge = Bridge(path)
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    return bridge


def test_the_table_leads_from_unread_to_gone():
    """Every state can be reached, and left until the row is gone; no move leads to itself."""
    assert set(MOVES) - {UNREAD} <= {to for _, to in LEGAL}
    assert [GONE] == [state for state, moves in MOVES.items() if not moves]
    assert [] == [was for was, to in LEGAL if was is to]


def test_an_illegal_move_changes_nothing():
    """It raises, and says which row was to go where."""
    rows = Rows(backlog=1)
    rows.move(1, DUE)

    with pytest.raises(IllegalMove, match="row 1 must not go from DUE to PARKING"):
        rows.move(1, PARKING)
    assert (DUE, 1, [1]) == (rows[1], rows.backlog, list(rows.due))


def test_rows_on_the_disk_take_no_memory():
    """However many are passed over, their state follows from their number."""
    rows = Rows(backlog=100_000)
    for seq in range(1, 100_001):
        rows.reach(seq)
        rows.move(seq, PASSED_OVER)

    assert (0, 0, 0) == (len(rows), rows.backlog, len(rows._ahead))
    assert [PASSED_OVER, PASSED_OVER, UNREAD] == [rows[seq] for seq in (1, 100_000, 100_001)]


def test_row_that_is_passed_over_before_it_is_read():
    """It is known by number until the cursor has reached it."""
    rows = Rows(backlog=2)
    rows.move(2, PASSED_OVER)
    before = rows[1], rows[2], rows.any_ahead
    rows.skip_to(2)

    assert (UNREAD, PASSED_OVER, True) == before
    assert (PASSED_OVER, False, 1) == (rows[2], rows.any_ahead, rows.backlog)


def test_row_of_a_sweep_does_not_count_for_the_backlog():
    """It was counted before it was passed over."""
    rows = Rows(backlog=1)
    rows.reach(1)
    for state in (PASSED_OVER, IN_LINE, DUE, ON_WIRE):
        rows.move(1, state)

    assert (0, True) == (rows.backlog, 1 in rows.swept)
    rows.move(1, GONE)
    assert (0, False, 0) == (rows.backlog, 1 in rows.swept, len(rows))


# Stories for moves that no other story needs


def block_with(bridge, *records):
    """Block the broker with events on the wire, until these are spooled."""
    for number, record in enumerate(records, start=1):
        bridge.send(number, record=record)
    bridge.loop.settle()
    bridge.broker.blocked = True
    bridge.loop.advance(DEADLINE)


def test_attached_row_whose_connection_is_lost(bridge):
    """It was not read: it waits for its turn like any other."""
    block_with(bridge, RECORD)
    before = bridge.drain._rows[1]
    bridge.broker.lose()

    assert (ATTACHED, UNREAD) == (before, bridge.drain._rows[1])
    finish(bridge)


def read_attached(bridge):
    """Return after the second of two attached rows was read, and before it is settled."""
    bridge.broker.blocked = False
    bridge.broker.confirm(0)
    bridge.loop.advance(0.2)


def test_attached_row_that_was_read(bridge):
    """When its connection is lost it is due."""
    block_with(bridge, RECORD, ANOTHER)
    read_attached(bridge)
    bridge.broker.lose()

    assert {(ATTACHED, DUE)} <= bridge.moves
    finish(bridge)
    assert {1, 2} == set(routed(bridge))


def test_attached_row_that_is_damaged(bridge):
    """It is parked when the broker has not taken it."""
    block_with(bridge, RECORD, ANOTHER)
    bridge.disk.damage(2)
    read_attached(bridge)
    bridge.broker.nack(0)

    assert {(ATTACHED, PARKING)} <= bridge.moves
    finish(bridge)
    assert {"event-2": "spool_unreadable"} == bridge.broker.parked


def test_attached_row_that_is_nacked(bridge):
    """It is held."""
    block_with(bridge, RECORD)
    bridge.broker.blocked = False
    bridge.broker.nack(0)

    assert HELD is bridge.drain._rows[1]
    finish(bridge, jump=1.1)


@pytest.mark.parametrize("state", [ATTACHED, ON_WIRE])
def test_suspects_beyond_those_that_can_be_held(bridge, monkeypatch, state):
    """They are passed over, wherever they come from."""
    if state is ATTACHED:
        block_with(bridge, RECORD, ANOTHER)
        bridge.broker.blocked = False
    else:
        put_on_the_wire(bridge, RECORD, ANOTHER)
    monkeypatch.setattr(held_rows, "SUSPECTS", 0)
    bridge.broker.close_channel()

    assert {(state, PASSED_OVER)} <= bridge.moves
    monkeypatch.undo()
    finish(bridge, jump=1.1)


def put_on_the_wire(bridge, *records):
    """Publish events from the spool, on a connection that is proven."""
    bridge.broker.blocked = True
    bridge.send(0, record=None)
    for number, record in enumerate(records, start=1):
        bridge.send(number, record=record)
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.settle()


def test_row_of_the_spool_that_is_nacked(bridge):
    """It is held, and the rows in line behind it are passed over."""
    put_on_the_wire(bridge, RECORD, RECORD)
    bridge.broker.nack(0)

    assert [HELD, PASSED_OVER] == [bridge.drain._rows[seq] for seq in (2, 3)]
    finish(bridge, jump=1.1)
    assert [0, 1, 2] == routed(bridge)


def test_silent_row_that_is_nacked_late(bridge):
    """It is held by number, no longer with its place."""
    bridge.send(1, record=RECORD)
    bridge.loop.advance(DEADLINE)
    before = bridge.drain._rows[1]
    bridge.broker.nack(0)

    assert (SILENT, HELD) == (before, bridge.drain._rows[1])
    finish(bridge, jump=5.0)


def test_row_that_is_nacked_for_its_place(bridge):
    """It is parked when its tries are used up, although it was never held itself."""
    bridge.send(1, record=RECORD)
    bridge.loop.advance(DEADLINE)
    bridge.broker.lose()
    bridge.broker.full.add(RECORD)
    finish(bridge, jump=7300.0)

    assert {(PASSED_OVER, ON_TRIAL), (PASSED_OVER, PARKING)} <= bridge.moves
    assert {"event-1": "refused"} == bridge.broker.parked


def test_due_row_that_is_gone(bridge):
    """Another program has deleted it while it was in line."""
    put_on_the_wire(bridge, RECORD, RECORD)
    bridge.disk.delete(3)
    finish(bridge)

    assert {(DUE, GONE)} <= bridge.moves
    assert [0, 1] == routed(bridge)


def test_suspect_that_is_silent_alone(bridge):
    """Its place is held in its stead."""
    for number, record in enumerate((RECORD, ANOTHER), start=1):
        bridge.send(number, record=record)
    bridge.loop.settle()
    bridge.broker.close_channel()
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    trials = len(bridge.broker.in_flight)
    bridge.loop.advance(DEADLINE)
    bridge.broker.expire()

    assert (1, 1) == (trials, bridge.drain.held_places)
    assert {(HELD, PASSED_OVER)} <= bridge.moves
    finish(bridge, jump=20.0)


def park(bridge):
    """Give an event up that is held, while superoffice.parked is missing."""
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.broker.nack(0)
    bridge.broker.gone("other")
    bridge.broker.gone("superoffice.parked")
    for _ in range(20):
        bridge.loop.jump(61)
        bridge.live()
    assert PARKING is bridge.drain._rows[1]


def test_row_to_be_parked_that_is_gone(bridge):
    """Another program has deleted it: its record goes on."""
    park(bridge)
    bridge.disk.delete(1)
    bridge.heal()
    finish(bridge, jump=61.0)

    assert {(PARKING, GONE)} <= bridge.moves
    assert {} == bridge.broker.parked


def test_parking_that_is_lost_among_others(bridge, monkeypatch):
    """What was given up is parked again when its connection has ended."""
    park(bridge)
    with monkeypatch.context() as patch:
        among_others(bridge, patch)
        bridge.heal()
        bridge.loop.jump(61)
        bridge.loop.settle()
        before = bridge.drain._rows[1]
        bridge.broker.lose()

    assert (SILENT, PARKING) == (before, bridge.drain._rows[1])
    finish(bridge, jump=61.0)
    assert {"event-1": "exchange_gone"} == bridge.broker.parked


def test_trial_that_is_lost_among_others(bridge, monkeypatch):
    """A row under which connections were lost is held until its trial has an outcome."""
    put_on_the_wire(bridge, RECORD)
    with monkeypatch.context() as patch:
        among_others(bridge, patch)
        for _ in range(2):
            bridge.broker.lose()
            bridge.broker.connect()
            bridge.loop.advance(0.2)
        before = bridge.drain._rows[2]
        bridge.broker.lose()

    assert (SILENT, HELD) == (before, bridge.drain._rows[2])
    finish(bridge, jump=5.0)
    assert [0, 1] == routed(bridge)


@pytest.mark.parametrize("state", [UNREAD, ATTACHED, PASSED_OVER])
def test_row_that_the_disk_does_not_take(bridge, state):
    """It is gone, whatever it was meanwhile, and counts nowhere."""
    bridge.disk.flows = False
    if state is UNREAD:
        bridge.broker.lose()
    if state is PASSED_OVER:
        bridge.broker.gone("superoffice")
    bridge.send(1, record=RECORD)
    bridge.loop.settle()
    bridge.broker.blocked = state is ATTACHED
    bridge.loop.advance(DEADLINE)
    before = bridge.drain._rows[1]
    bridge.disk.refuse(True)
    bridge.disk.commit()
    bridge.loop.settle()

    assert state is before
    assert (0, 0) == (bridge.drain.backlog, bridge.spool.events)
    assert {(state, GONE)} <= bridge.moves


# The whole table

STORIES = (
    interleavings.test_rows_of_a_lost_exchange_that_come_out_of_order,
    interleavings.test_followers_of_a_held_row_do_not_wait_for_a_tick,
    interleavings.test_given_up_rows_are_read_again,
    interleavings.test_held_record_with_rows_of_a_lost_exchange,
    interleavings.test_too_large_even_to_be_parked,
    interleavings.test_copies_of_a_silent_event_in_a_day,
    interleavings.test_refused_row_that_the_disk_does_not_take,
    interleavings.test_trial_that_is_given_up_among_others,
    test_trial_that_is_lost_among_others,
    test_row_of_the_spool_that_is_nacked,
    test_silent_row_that_is_nacked_late,
    test_row_that_is_nacked_for_its_place,
    test_due_row_that_is_gone,
    test_attached_row_whose_connection_is_lost,
    test_attached_row_that_was_read,
    test_attached_row_that_is_damaged,
    test_attached_row_that_is_nacked,
    test_suspects_beyond_those_that_can_be_held,
    test_suspect_that_is_silent_alone,
    test_row_to_be_parked_that_is_gone,
    test_parking_that_is_lost_among_others,
    test_row_that_the_disk_does_not_take,
)


@pytest.mark.usefixtures("without_threads")
def test_every_move_of_the_table_happens(tmp_path, monkeypatch):
    """A move that no story reaches is impossible, or lacks a story."""
    seen = set()
    for number, story in enumerate(STORIES):
        for case, arguments in enumerate(cases(story)):
            with monkeypatch.context() as patch:
                path = tmp_path / f"{number}-{case}"
                path.mkdir()
                bridge = connected(path)
                given = {"bridge": bridge, "monkeypatch": patch, **arguments}
                story(**{name: given[name] for name in inspect.signature(story).parameters})
                seen |= bridge.moves
                bridge.kill()

    assert LEGAL == seen


def cases(story):
    """Return the arguments of each case of a test."""
    marks = [mark.args for mark in getattr(story, "pytestmark", [])]
    names = [name for name, _ in marks]
    return [
        dict(zip(names, values, strict=True))
        for values in product(*(values for _, values in marks))
    ]
