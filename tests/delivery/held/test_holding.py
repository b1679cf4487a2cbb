"""What is set aside, one case after the other: it comes back, and stays within its bounds."""

import sqlite3
from collections import Counter

import pytest
from structlog.testing import capture_logs

from bridge import log
from bridge.core.message import PARKED
from bridge.core.publish import Outcome
from bridge.delivery.held import held_rows
from bridge.delivery.held.timetable import TRIALS_A_SECOND
from tests.delivery.bridge_under_test import DEADLINE
from tests.delivery.held.test_places import KEYS, PLACES, RECORDS, WELL, Village

SALES = ("superoffice", "sale.sold")
PERSONS = ("superoffice", "person.changed")


@pytest.fixture
def village(tmp_path, without_threads):
    """Return a bridge whose places are well."""
    village = Village(tmp_path)
    village.live(0.2)
    yield village
    village.bridge.kill()


def numbers(village, place):
    """Return the numbers that reached the exchange of a place, in order."""
    sent = {s.id: s for s in village.bridge.sent}
    ids = [id for to, id in village.broker.routed if to == place[0]]
    return [id for id in ids if sent[id].message.routing_key == place[1]]


def test_silence_of_one_place_does_not_end_the_sweep_of_another(village):
    """A place that takes one row and is silent again keeps no other place from coming back."""
    for place in (PERSONS, SALES):
        village.mood(place, "silent")
        village.send([None] * 3, place)
    village.live(DEADLINE + 0.5)
    for place in (PERSONS, SALES):
        village.send([None] * 3, place)
    village.live(0.5)
    village.broker.quota[PERSONS] = 1
    village.live(30)
    village.mood(SALES, "well")
    village.live(300)

    assert 6 == len(numbers(village, SALES))
    assert 1 == len(numbers(village, PERSONS))
    village.all_get_well()


def test_silent_queue_of_an_exchange_that_has_come_back(village):
    """It is set aside by its key like any other: its copies are bounded, and the others arrive."""
    village.gone("other")
    village.mood(("other", KEYS[1]), "silent")
    for key in (KEYS[1], KEYS[0], KEYS[2]):
        village.send([None] * 3, ("other", key))
    village.live(1)
    village.back("other")
    for _ in range(30):
        village.live(30)
        village.lose()

    assert (
        3 == len(numbers(village, ("other", KEYS[0]))) == len(numbers(village, ("other", KEYS[2])))
    )
    assert max(village.broker.copies.values()) <= 12
    village.all_get_well()


def test_trials_wait_on_a_new_connection(village):
    """However many silent places are due, what comes first on a new connection are others."""
    for place in PLACES:
        village.mood(place, "silent")
        village.send([None], place)
    village.live(DEADLINE + 0.5)
    village.lose()
    village.bridge.loop.jump(100.0)
    village.send_well()
    village.bridge.loop.settle()
    village.live(1.0)

    assert not village.waits
    village.all_get_well()


def test_disk_that_fails_once(village):
    """A row or a place whose trial found the disk in trouble is tried again."""
    village.mood(SALES, "full")
    village.mood(PERSONS, "silent")
    village.send([None], SALES)
    village.send([None], PERSONS)
    village.live(DEADLINE + 0.5)
    drain = village.bridge.drain
    village.bridge.running.cancel()
    get = village.bridge.spool.get
    village.bridge.spool.get = failing
    for _ in range(4):
        village.bridge.loop.jump(60)
        with pytest.raises(sqlite3.OperationalError):
            village.bridge.loop.run_until_complete(drain.run())
    village.bridge.spool.get = get
    village.bridge.running = village.bridge.loop.create_task(drain.run())

    village.all_get_well()


async def failing(_):
    """Stand in for a disk that cannot be read now."""
    raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.parametrize("trouble", ["gone", "full"])
def test_what_cannot_be_parked_is_held_in_bounded_memory(village, monkeypatch, trouble):
    """While nothing can be parked, a few rows are held for it and the others lie on the disk."""
    monkeypatch.setattr(held_rows, "HELD", 5)
    village.gone("other")
    if trouble == "gone":
        village.gone(PARKED)
    else:
        village.mood((PARKED, "exchange_gone"), "full")
    village.send([None] * 40, ("other", KEYS[0]))
    village.live(1)
    for _ in range(3):
        village.jump(601)
        village.live(2)
        assert len(village.bridge.drain._holding.held) <= 5
    village.mood((PARKED, "exchange_gone"), "well")
    village.back(PARKED)
    for _ in range(50):
        village.jump(601)
        village.live(1)

    assert 40 == len(village.broker.parked)
    village.all_get_well()


def test_silence_that_began_while_the_broker_was_blocked(village):
    """What was given up then is set aside afterwards: nobody queues behind it."""
    village.mood(SALES, "silent")
    village.send([None], SALES)
    village.bridge.loop.settle()
    village.broker.blocked = True
    village.bridge.loop.advance(DEADLINE + 0.5)
    village.broker.blocked = False
    village.live(DEADLINE + 0.5)
    village.send_well()
    village.bridge.loop.settle()

    assert WELL[1] in {flight.message.routing_key for flight in village.broker.in_flight}
    assert 0 == village.bridge.drain.backlog
    village.all_get_well()


def test_new_event_behind_one_that_comes_back(village):
    """While the last row of a sweep is on the wire, a new one of its record stops nobody else."""
    village.mood(SALES, "full")
    village.send([RECORDS[0]], SALES)
    village.live(0.2)
    village.send([RECORDS[0]], SALES)
    village.live(0.2)
    village.mood(SALES, "well")
    while "event-2" not in on_the_wire(village):
        village.tick()
        village.bridge.loop.settle()
    village.send([RECORDS[0]], SALES)
    village.bridge.loop.settle()
    village.send_well()
    village.bridge.loop.settle()

    assert {"event-2", "event-4"} == on_the_wire(village)
    assert 0 == village.bridge.drain.backlog
    village.live(2)
    assert ["event-1", "event-2", "event-3"] == numbers(village, SALES)
    village.all_get_well()


def test_sweep_ends_while_the_disk_is_busy(village):
    """What is well again is trusted, whatever else is on its way to the disk."""
    for place in (PERSONS, SALES):
        village.mood(place, "silent")
        village.send([None] * 3, place)
    village.live(DEADLINE + 0.5)
    village.mood(PERSONS, "well")
    disk = village.bridge.disk
    disk.flows = False
    for _ in range(100):
        village.send([None], SALES)
        disk.commit()  # of the one before
        village.bridge.loop.settle()
        while disk.select() or disk.answer():
            village.bridge.loop.settle()
        village.tick()
    village.send([None], PERSONS)
    village.bridge.loop.settle()

    assert ["sale.sold"] == [each["key"] for each in village.bridge.drain.places]
    assert {village.bridge.sent[-1].id} <= on_the_wire(village)
    disk.flows = True
    village.all_get_well()


def on_the_wire(village):
    """Return the ids of what is published and not confirmed."""
    return {flight.message.message_id for flight in village.broker.in_flight}


def test_silent_row_among_good_ones(village):
    """One row that is never confirmed does not hold up those of its place that are."""
    village.send([RECORDS[0]], SALES)
    bad = village.bridge.sent[-1].id
    village.broker.unanswered.add(bad)
    village.send([*RECORDS, *RECORDS], SALES)
    village.live(DEADLINE + 0.5)
    village.lose()
    village.live(30)

    assert 6 == len(numbers(village, SALES))
    assert {RECORDS[0]} == {sent.message.record for sent in waiting(village)}
    for _ in range(24):
        village.jump(3600)
        village.live(3)
    assert village.broker.copies[bad] <= 20
    assert {Outcome.SPOOLED, Outcome.CONFIRMED} >= {sent.outcome for sent in village.bridge.sent}
    village.broker.unanswered.clear()
    village.all_get_well()


def test_message_that_ends_the_connection(village):
    """After two connections it is tried on one of its own, and the others go on."""
    village.mood(SALES, "cuts")
    village.send([None], SALES)
    village.live(2)
    connections = village.broker.connection
    for _ in range(100):
        village.send_well()
        village.send([RECORDS[0]], PERSONS)
        village.jump(600)
        village.live(1)

    assert 3 >= connections == village.broker.connection
    assert 100 == len(numbers(village, PERSONS))
    assert 20 >= village.broker.copies["event-1"]
    village.all_get_well()


@pytest.mark.parametrize("mood", ["full", "silent"])
def test_share_of_the_disk(tmp_path, without_threads, mood):
    """What is set aside leaves half of the disk to all others, and says that it is full."""
    village = Village(tmp_path, max_bytes=40_000)
    village.mood(SALES, mood)
    village.send([None] * 300, SALES)
    village.live(DEADLINE + 0.5)
    village.send([None] * 300, SALES)
    village.live(DEADLINE + 0.5)
    outcomes = [sent.outcome for sent in village.bridge.sent]
    village.broker.blocked = True
    village.send([None] * 20, PERSONS)
    village.bridge.loop.advance(DEADLINE + 0.5)
    village.send([None] * 20, SALES)
    village.bridge.loop.advance(DEADLINE + 0.5)
    late = village.bridge.sent[600:]
    persons, sales = ({sent.outcome for sent in some} for some in (late[:20], late[20:]))

    assert Outcome.NOT_SENT is outcomes[-1]
    assert {Outcome.SPOOLED} == persons
    assert {Outcome.NOT_SENT} == sales
    assert [True] == [each["full"] for each in village.bridge.drain.places]
    assert 1 == village.bridge.drain.full_places
    assert village.bridge.spool.accepts
    village.broker.blocked = False
    village.all_get_well()
    assert 0 == village.bridge.drain.full_places
    village.bridge.kill()


def test_place_that_closes_the_channel(village):
    """Ever new records of it close the channel once: it is set aside, and nobody else waits."""
    village.mood(SALES, "closes")
    village.send([None], SALES)
    village.live(2)
    connections = village.broker.connection
    for number in range(60):
        village.send([("superoffice", "Cust1", "sale", 1000 + number)], SALES)
        village.send([RECORDS[0]], PERSONS)
        village.send_well()
        village.live(0.5)
    direct = [sent.outcome for sent in village.bridge.sent if sent.message.routing_key != SALES[1]]

    assert connections == village.broker.connection
    assert direct.count(Outcome.CONFIRMED) >= 115
    assert [("sale.sold", "closes")] == [(a["key"], a["why"]) for a in village.bridge.drain.places]
    assert 20 >= max(village.broker.copies.values())
    village.mood(SALES, "well")
    village.live(300)
    assert 61 == len(numbers(village, SALES))
    village.all_get_well()


def test_messages_that_close_the_channel_among_good_ones(village):
    """While every fourth of a place does, its rows go alone: one channel is lost, not one each."""
    for number in range(60):
        village.send([("superoffice", "Cust1", "sale", 1000 + number)], SALES)
        if number % 4 == 0:
            village.broker.poison.add(village.bridge.sent[-1].id)
        village.send_well()
        village.live(0.5)

    assert 2 >= village.broker.connection
    assert 45 == len(numbers(village, SALES))
    village.all_get_well()


def test_many_places_that_close_the_channel(village):
    """Ever new routing keys of one type of event cost one channel, too."""
    for number in range(60):
        village.mood((SALES[0], f"sale.sold.{number}"), "closes")
        village.bridge.send(1000 + number, key=f"sale.sold.{number}", type="sale.sold", record=None)
        village.send_well()
        village.live(0.5)

    assert 2 >= village.broker.connection
    village.all_get_well()


def test_thousands_of_sick_places(village):
    """They are tried, and named in the log, at a bounded rate; in the end all of them recover."""
    for number in range(600):
        key = f"sale.sold.{number}"
        village.mood((SALES[0], key), "silent")
        village.bridge.send(1000 + number, key=key, type=f"sale.{number // 50}", record=None)
    log.configure(level="warning", format="json")
    with capture_logs() as logs:
        village.live(DEADLINE + 0.5)
        aside = village.bridge.drain.held_places
        for place in list(village.broker.moods):
            village.mood(place, "full")
        village.live(3)
        before = village.broker.copies.total()
        village.live(5)
        tried = village.broker.copies.total() - before
    lines = Counter(line["event"] for line in logs)

    assert 600 == aside
    assert 8 <= tried <= 5 * TRIALS_A_SECOND + 10
    assert 100 == lines["place_set_aside"]
    assert 100 >= lines["place_tried"]
    assert 100 >= lines["event_refused"]
    village.all_get_well()


def test_message_that_cannot_be_sent(village, monkeypatch):
    """What no code expects in a message of the spool is a refusal of that message alone."""
    submit = village.broker.submit

    def submit_others(message, *, alone=False):
        if message.message_id == "event-1" and message.exchange != PARKED and not alone:
            raise UnicodeEncodeError("utf-8", "\udc80", 0, 1, "surrogates not allowed")
        return submit(message, alone=alone)

    monkeypatch.setattr(village.broker, "submit", submit_others)
    village.broker.connected = False
    village.send([None, RECORDS[0]], SALES)
    village.bridge.loop.settle()
    village.live(3)

    assert {"event-1", "event-2"} == {id for _, id in village.arrived}
    village.all_get_well()


def waiting(village):
    """Return what has not arrived."""
    arrived = {id for _, id in village.arrived}
    return [sent for sent in village.bridge.sent if sent.id not in arrived]


def test_row_whose_deletion_is_owed(village):
    """A row that a sweep has published is not tried for its place, whatever the disk does."""
    village.mood(SALES, "silent")
    village.send([None] * 20, SALES)
    village.live(DEADLINE + 0.5)
    village.send([None] * 20, SALES)
    village.live(0.5)
    village.broker.quota[SALES] = 5
    [aside] = village.bridge.drain._holding.places
    while not aside.recovering:
        village.tick()
    village.bridge.disk.refuse(True)
    while aside.recovering:
        village.tick()
    village.live(30)

    assert village.bridge.spool._deleting
    assert 5 == len(numbers(village, SALES))
    village.all_get_well()


def test_confirm_that_never_comes(village):
    """Its row goes on when the connection is renewed, and is not published again before."""
    village.mood(SALES, "silent")
    village.send([RECORDS[0]], SALES)
    village.live(DEADLINE + 0.5)
    lost = village.broker.in_flight[0]
    village.broker.unheard.add(lost)
    village.mood(SALES, "well")
    village.send([RECORDS[0]], SALES)
    while "event-2" not in numbers(village, SALES):
        village.jump(10)

    assert 600 <= village.bridge.loop.time() - lost.at <= 700
    assert 2 == village.broker.connection
    village.all_get_well()


def test_queue_that_never_confirms_for_a_day(village):
    """However often the connection is renewed for it, its copies are bounded, and the renewals."""
    village.mood(SALES, "silent")
    for _ in range(48):
        village.send([RECORDS[0], None], SALES)
        village.send_well()
        village.jump(1800)
        village.live(1)

    assert 20 >= max(village.broker.copies.values())
    assert 2 >= village.broker.connection
    village.all_get_well()
