"""How much is held, how often it is tried, and how much of the disk it takes: each bound is met."""

import pytest

from bridge.core.publish import Outcome
from bridge.delivery.held import held_rows, places
from bridge.delivery.held.timetable import TRIALS_A_SECOND
from tests.delivery.bridge_under_test import DEADLINE
from tests.delivery.held.test_places import KEYS, Village

SALES = ("superoffice", "sale.sold")
PERSONS = ("superoffice", "person.changed")
BYTES = 40_000
ROW = 300


def record(number):
    """Return one of many records."""
    return "superoffice", "Cust1", "sale", 1000 + number


@pytest.fixture
def max_bytes():
    """Return the room there is; a test may say another one."""
    return 10**9


@pytest.fixture
def village(tmp_path, without_threads, max_bytes):
    """Return a bridge whose places are well."""
    village = Village(tmp_path, max_bytes=max_bytes)
    village.live(0.2)
    yield village
    village.bridge.kill()


little_room = pytest.mark.parametrize("max_bytes", [BYTES])


def on_the_disk(village):
    """Return the bytes of all rows."""
    return sum(village.bridge.disk.sizes().values())


def test_many_suspects_blame_no_place(village):
    """A channel with many events is closed, and one more is refused: its place is well."""
    for number in range(held_rows.HELD_OF_A_PLACE + 20):
        village.send([record(number)], SALES)
    village.bridge.loop.settle()
    village.broker.close_channel()
    village.bridge.loop.settle()
    village.broker.connect()
    village.broker.full.add(record(9999))
    village.send([record(9999)], SALES)
    for _ in range(3):
        village.tick()

    assert 1 == village.broker.refusals["event-121"]
    assert 0 == village.bridge.drain.held_places
    village.broker.full.clear()
    village.all_get_well()


@pytest.mark.parametrize("trouble", ["close_channel", "lose"])
def test_more_suspects_than_may_be_held(village, monkeypatch, trouble):
    """The others wait on the disk until they, too, are tried alone; all arrive."""
    monkeypatch.setattr(held_rows, "HELD", 30)
    monkeypatch.setattr(held_rows, "SUSPECTS", 20)
    for number in range(100):
        village.send([record(number)], SALES)
    for _ in range(1 if trouble == "close_channel" else 3):
        village.bridge.loop.advance(0.2)
        getattr(village.broker, trouble)()
        village.bridge.loop.settle()
        village.rules_are_kept()
        village.broker.connect(proven=True)
    village.live(60)

    assert 0 == village.bridge.drain.held_places == village.bridge.spool.events
    village.all_get_well()


def test_rows_are_tried_again_at_a_bounded_rate(village):
    """Very many refused rows that are due at once cost so many channels in a second."""
    village.mood(SALES, "full")
    for number in range(held_rows.HELD_OF_A_PLACE - 5):
        village.send([record(number)], SALES)
    village.live(0.3)
    before = village.broker.copies.total()
    village.live(3)
    tried = village.broker.copies.total() - before

    assert 0 == village.bridge.drain.held_places
    assert 30 <= tried <= 3 * TRIALS_A_SECOND + 5
    village.all_get_well()


def test_first_trials_wait_for_no_retries(village):
    """Who is only suspected is tried at once, however many refused rows are due."""
    village.mood(SALES, "full")
    for number in range(90):
        village.send([record(number)], SALES)
    village.live(0.3)
    village.send([None] * 40, PERSONS)
    village.bridge.loop.settle()
    village.broker.close_channel()
    village.live(1.2)

    suspects = village.bridge.sent[90:]
    assert {Outcome.SPOOLED} == {sent.outcome for sent in suspects}
    assert village.arrived >= {(PERSONS[0], sent.id) for sent in suspects}
    village.all_get_well()


@little_room
@pytest.mark.parametrize("keys", [[""], ["-"], ["sale.1", "sale.2", "sale.3"]])
def test_share_of_any_key_and_of_a_kind(village, monkeypatch, keys):
    """What is held counts for its place, whatever the key is, and for the kind."""
    monkeypatch.setattr(places, "KEYS_OF_A_KIND", 1)
    monkeypatch.setattr(held_rows, "HELD_OF_A_PLACE", 10)
    for key in keys:
        village.mood((SALES[0], key), "full")
    for number in range(300):
        key = keys[number % len(keys)]
        village.bridge.send(1000 + number, key=key, type="sale", record=None)
        if number % 10 == 0:
            village.live(0.1)
    village.live(DEADLINE + 0.5)

    assert on_the_disk(village) <= BYTES / 2 + ROW
    village.all_get_well()


@little_room
def test_suspects_that_fill_half_of_the_disk(village):
    """Their place is not blamed: it has done nothing."""
    for number in range(80):
        village.send([record(number)], SALES)
    village.bridge.loop.settle()
    village.broker.close_channel()
    village.bridge.loop.settle()
    village.send([record(1)] * 10, SALES)
    village.bridge.loop.settle()

    assert on_the_disk(village) >= BYTES / 2
    assert 0 == village.bridge.drain.held_places
    village.all_get_well()


@little_room
def test_share_of_an_exchange_that_comes_and_goes(village):
    """What waits for it is counted, however often it is there for a moment."""
    for _ in range(4):
        village.gone("other")
        for _ in range(3):
            village.send([None] * 40, ("other", KEYS[0]))
            village.tick()
        village.back("other")
        village.mood(("other", KEYS[0]), "silent")
        village.tick()

    assert on_the_disk(village) <= BYTES / 2 + ROW
    village.all_get_well()


def test_exchange_that_is_gone_again_during_a_sweep(village):
    """What waits for it is not forgotten in the instant in which it is found missing again."""
    village.gone("other")
    village.send([None] * 40, ("other", KEYS[0]))
    village.live(1)
    village.mood(("other", KEYS[0]), "silent")
    village.back("other")
    village.tick()
    village.gone("other")
    village.bridge.drain._holding.exchanges.hold_if_missing(village.bridge.sent[0].message)

    village.shares_are_counted()
    village.all_get_well()


def test_what_is_to_be_parked_blames_no_place(village, monkeypatch):
    """However many rows of a place wait to be parked, no other one of it counts for that."""
    monkeypatch.setattr(held_rows, "HELD_OF_A_PLACE", 3)
    village.mood(SALES, "silent")
    village.send([None] * 8, SALES)
    village.live(DEADLINE + 0.5)
    village.mood(SALES, "full")
    for _ in range(60):
        village.jump(7300.0)
        village.live(0.5)

    assert len(village.broker.parked) >= 4
    village.all_get_well()
