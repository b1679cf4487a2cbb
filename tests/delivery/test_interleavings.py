"""Interleavings that once went wrong, each as short as it can be told.

The numbers in the timelines are those of the events. The verbs that move a bridge on:

- ``loop.settle()``: everything happens that can happen now; ``loop.advance(seconds)``: time passes,
  and every timer has its turn; ``loop.jump(seconds)``: so much time passes at once;
- ``live()``: the broker is connected and settles what it has, and a moment passes;
- ``heal()``: disk and broker are well again; ``finish()``: ``live()`` until nothing waits.
"""

from types import SimpleNamespace

import pytest

from bridge.core.publish import WINDOW, Outcome, Publish
from tests.delivery.bridge_under_test import DEADLINE, REFUSED_TRIES, Bridge

RECORD = ("superoffice", "Cust1", "contact", 1)
ANOTHER = ("superoffice", "Cust1", "contact", 2)


@pytest.fixture
def bridge(tmp_path, without_threads):
    """Return a bridge that is connected."""
    bridge = Bridge(tmp_path)
    bridge.broker.connect()
    bridge.loop.settle()
    yield bridge
    assert not bridge.broker.broken
    assert not bridge.loop.failures
    bridge.kill()


def routed(bridge, exchange="superoffice"):
    """Return the numbers that reached an exchange, in order."""
    return [int(id.removeprefix("event-")) for to, id in bridge.broker.routed if to == exchange]


def finish(bridge, **options):
    """Let everything that waits be published."""
    bridge.quiesce(**options)
    assert (0, 0) == (bridge.drain.backlog, bridge.spool.events)


# 1. the exchange of 1 is missing: 1 is passed over, and 2 behind it
# 2. the queues of their record begin to nack; 3 comes behind
# 3. the exchange returns: 1 is nacked and held
# 4. the queues are well again: 1 is published once
def test_held_record_with_rows_of_a_lost_exchange(bridge):
    """When an exchange returns, its rows wait behind those of their record that are held."""
    bridge.broker.gone("other")
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.send(2, record=RECORD)
    bridge.loop.settle()
    bridge.live()
    bridge.broker.full.add(RECORD)
    bridge.send(3, record=RECORD)
    bridge.live(0)
    bridge.live(0)
    bridge.heal()
    bridge.live()
    bridge.broker.full.clear()
    finish(bridge, jump=5.0)

    assert [1] == routed(bridge, "other")


# 1. 1 is passed over, because its exchange is missing
# 2. the exchange returns; in the same instant 2 of the same record comes
# 3. 2 goes behind 1
def test_new_event_behind_those_of_a_returned_exchange(bridge):
    """In the instant in which an exchange returns, new events still wait for the old ones."""
    bridge.broker.gone("other")
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.heal()
    bridge.send(2, record=RECORD, exchange="other")
    bridge.loop.settle()
    finish(bridge)

    assert [1, 2] == routed(bridge, "other")


# 1. 1 is passed over; ten minutes later its exchange is still missing, so 1 is parked
# 2. the connection is lost while 1 and 2 are on the wire
# 3. on the next connection 1 is parked, once
def test_given_up_rows_are_read_again(bridge):
    """Rows that are being parked are neither published nor counted again after an interruption."""
    bridge.broker.gone("other")
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.loop.jump(601)
    bridge.send(2, record=ANOTHER)
    bridge.loop.settle()
    bridge.broker.lose()
    bridge.heal()
    bridge.broker.connect()
    bridge.loop.advance(0.2)

    finish(bridge, jump=1.1)
    assert "exchange_gone" == bridge.broker.parked["event-1"]
    assert [] == routed(bridge, "other")


# 1. 1 is not confirmed in time and spooled
# 2. the reader has looked at the disk; its answer is still on the way
# 3. 1 is confirmed and deleted; then the answer arrives, with the row in it
def test_late_confirm_while_its_row_is_read(bridge):
    """A row that is deleted between the reader's look and its answer is not published again."""
    disk = bridge.disk
    disk.flows = False
    bridge.send(1, record=RECORD)
    bridge.loop.advance(2.0)
    disk.commit()
    bridge.loop.settle()
    disk.select()
    bridge.broker.confirm(0)
    disk.commit()
    bridge.loop.settle()
    disk.flows = True
    finish(bridge)

    assert [1] == routed(bridge)


# 1. 1 is not confirmed in time; the disk is slow to take it
# 2. the broker confirms 1
# 3. the disk refuses 1: the confirm counts, and nothing is left of the row
def test_late_confirm_of_a_row_that_the_disk_does_not_take(bridge):
    """Confirmed while the disk is still busy, and then refused by it: counted once, and a 200."""
    bridge.disk.flows = False
    sent = bridge.send(1, record=RECORD)
    bridge.loop.advance(2.0)
    bridge.disk.refuse(True)
    bridge.broker.confirm(0)
    bridge.disk.commit()
    bridge.loop.settle()

    assert Outcome.CONFIRMED is sent.outcome
    assert (0, 0, 0) == (bridge.drain.backlog, bridge.spool.events, bridge.spool.bytes)


# 1. 1 is nacked and held; then the disk refuses it, and its retry is still scheduled
# 2. 2 and 3 of the same record are nacked, or wait behind
# 3. when the pause is over only one of them is tried
def test_refused_row_that_the_disk_does_not_take(bridge):
    """What is left of its place in the line of retries does not count for the record's next."""
    bridge.broker.full.add(RECORD)
    bridge.disk.refuse(True)
    first = bridge.send(1, record=RECORD)
    bridge.live(0)
    bridge.disk.refuse(False)
    for number in (2, 3):
        bridge.send(number, record=RECORD)
    bridge.live(0.5)
    bridge.broker.full.clear()
    bridge.loop.jump(2)

    assert Outcome.NOT_SENT is first.outcome
    assert 1 == len(bridge.broker.in_flight)
    finish(bridge, jump=5.0)
    assert [2, 3] == routed(bridge)


# 1. the drain has proven its connection
# 2. 2, 3 and 4 go directly to the broker; the connection is lost under them
# 3. on the next connection the drain publishes one row, and waits
def test_first_batch_after_a_loss_of_direct_publishes(bridge):
    """The first batch on a new connection is one message, whoever lost the others."""
    bridge.broker.blocked = True
    bridge.send(1)
    bridge.loop.settle()
    finish(bridge)
    for number in (2, 3, 4):
        bridge.send(number)
    bridge.loop.settle()
    bridge.broker.lose()
    bridge.loop.settle()
    bridge.broker.connect()
    bridge.loop.advance(0.2)

    assert 1 == len(bridge.broker.in_flight)


# 1. four events are nacked and held
# 2. the connection is lost; all four retries become due
# 3. on the next connection one of them is tried first
def test_retries_after_a_reconnect(bridge):
    """Retries of refused rows are part of the first batch, and that is one message."""
    for number in range(4):
        bridge.send(number)
    bridge.loop.settle()
    for _ in range(4):
        bridge.broker.nack(0)
    bridge.loop.settle()
    bridge.broker.lose()
    bridge.loop.advance(1.5)
    bridge.broker.connect()
    bridge.loop.advance(0.2)

    assert 1 == len(bridge.broker.in_flight)
    finish(bridge, jump=1.1)


# 1. 1 is never confirmed; 2, of another record, is
# 2. 3 and 4 of the first record wait behind 1
# 3. 13 and 14 of the other record go on meanwhile
def test_unresolved_row_does_not_stop_the_others(bridge):
    """A row that a queue without a majority never confirms holds up its own record only."""
    bridge.send(1, record=RECORD)
    bridge.loop.advance(1.5)
    bridge.send(2, record=ANOTHER)
    bridge.loop.settle()
    bridge.broker.confirm(1)
    bridge.loop.advance(0.6)
    for number in (3, 4):
        bridge.send(number, record=RECORD)
        bridge.send(number + 10, record=ANOTHER)
    for _ in range(9):
        bridge.loop.advance(0.2)
        while len(bridge.broker.in_flight) > 1:
            bridge.broker.confirm(1)

    assert [1, 2, 13, 14] == routed(bridge)
    finish(bridge)


# 1. five events fill the spool, so that answers are slowed
# 2. none of these answers takes longer than the deadline
def test_slowed_answer_is_given_by_the_deadline(tmp_path, without_threads):
    """Under pressure answers are slowed, but not beyond the deadline."""
    bridge = Bridge(tmp_path, max_bytes=4000)
    bridge.broker.connect()
    for number in range(5):
        bridge.send(number)
    bridge.loop.advance(2.01)

    assert [Outcome.SPOOLED] * 5 == [sent.outcome for sent in bridge.sent]
    bridge.kill()


# 1. 1 is nacked and held
# 2. its exchange is deleted, and does not come back for ten minutes: 1 is parked
def test_held_record_whose_exchange_is_gone(bridge):
    """A refused event whose exchange does not come back is parked after ten minutes, too."""
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.broker.nack(0)
    bridge.loop.settle()
    bridge.broker.gone("other")
    for _ in range(20):
        bridge.loop.jump(61)
        bridge.live()

    assert "exchange_gone" == bridge.broker.parked["event-1"]
    assert 0 == bridge.spool.events


# 1. 1 is nacked until its tries are used up, but cannot be parked
# 2. the process is killed and started again; parking is possible now
# 3. 1 is published once more, nacked, and parked
def test_tries_that_were_used_up_before_a_restart(bridge):
    """A row that was to be parked is, after the next refusal."""
    bridge.broker.full.add(RECORD)
    bridge.send(1, record=RECORD)
    bridge.live()
    bridge.broker.gone("superoffice.parked")
    for _ in range(7):
        bridge.loop.jump(4096)
        bridge.live(0)
    bridge.kill()
    bridge.start()
    bridge.heal()
    for _ in range(20):
        bridge.live()

    assert "refused" == bridge.broker.parked["event-1"]
    assert 0 == bridge.spool.events


# 1. 0 is nacked and held; 1 to 4 are passed over behind it
# 2. the retry of 0 is confirmed
# 3. the others follow without any further pause
def test_followers_of_a_held_row_do_not_wait_for_a_tick(bridge):
    """When the first row of a held record is taken, the next goes out at once."""
    bridge.broker.full.add(RECORD)
    for number in range(5):
        bridge.send(number, record=RECORD)
    bridge.live()
    bridge.broker.full.clear()
    bridge.loop.jump(1.0)
    bridge.loop.settle()
    for _ in range(5):
        bridge.broker.confirm_all()
        bridge.loop.settle()

    assert [0, 1, 2, 3, 4] == routed(bridge)
    finish(bridge)


# 1. five rows are spooled; their first is confirmed
# 2. the broker blocks while the next one is on the wire, which is confirmed all the same
# 3. the broker goes on: every row is published once
def test_waiting_rows_after_an_interruption(bridge):
    """Rows in line behind one that is still in flight are taken up again, each once."""
    bridge.broker.blocked = True
    for number, record in enumerate((RECORD, RECORD, ANOTHER, ANOTHER, None)):
        bridge.send(number, record=record)
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.settle()
    bridge.broker.blocked = True
    bridge.broker.confirm(1)
    bridge.loop.settle()
    bridge.broker.blocked = False
    finish(bridge)

    assert [0, 1, 2, 3, 4] == sorted(routed(bridge))


# 1. 1 is nacked and held; from now on it closes any channel that it is on
# 2. other events keep coming, minute by minute, while 1 is tried alone
# 3. its tries are used up: 1 is parked
def test_poison_among_retries_and_direct_events(bridge):
    """A retry that closes the channel is found, whatever is sent meanwhile; its tries count."""
    bridge.send(1, record=RECORD)
    bridge.loop.settle()
    bridge.broker.nack(0)
    bridge.loop.settle()
    bridge.broker.poison.add("event-1")
    for number in range(10, 200, 2):
        bridge.send(number, record=ANOTHER)
        bridge.loop.jump(60)
        bridge.send(number + 1)
        bridge.live(0.2)
        bridge.send(number + 2000)
        bridge.live(0.2)
    finish(bridge, jump=60.0)

    assert {"event-1": "refused"} == bridge.broker.parked
    assert 8 == bridge.broker.refusals["event-1"]


# 1. 0, 1 and 2 of one record are spooled, and 0 is on the wire
# 2. their exchange goes missing: 3 of another record is passed over first
# 3. the connection is lost, and 0 to 2 are passed over as well
# 4. the exchange returns: 0, 1 and 2 arrive in their order
def test_rows_of_a_lost_exchange_that_come_out_of_order(bridge):
    """An exchange returns with rows of which a later one had been set aside first."""
    bridge.broker.blocked = True
    for number in range(3):
        bridge.send(number, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    bridge.broker.gone("other")
    bridge.send(3, record=ANOTHER, exchange="other")
    bridge.loop.advance(0.2)
    bridge.broker.lose()
    bridge.loop.advance(0.2)
    bridge.broker.connect()
    bridge.loop.advance(0.2)
    bridge.heal()
    finish(bridge)

    arrived = routed(bridge, "other")
    assert 3 == arrived.pop(arrived.index(3))
    assert [0, 1, 2] == arrived


# 1. 1 is not confirmed in time; then its exchange is deleted
# 2. 2 waits behind it
# 3. 1 is confirmed late, the exchange returns: 2 follows
def test_unresolved_row_of_a_record_that_is_set_aside(bridge):
    """A publish on a live channel keeps its place although its exchange is gone meanwhile."""
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.advance(2.0)
    bridge.broker.gone("other")
    bridge.send(2, record=RECORD, exchange="other")
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.settle()
    bridge.heal()
    finish(bridge)

    assert [1, 2] == routed(bridge, "other")


# 1. more rows of one record than the window has room for are spooled, then some others
# 2. the first of that record and all others are published together
def test_hot_record_leaves_the_others_their_places(bridge):
    """However many rows of one record wait, those of others are published beside its first."""
    bridge.broker.blocked = True
    for number in range(WINDOW + 100):
        bridge.send(number, record=RECORD)
    for number in range(1000, 1010):
        bridge.send(number)
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    bridge.broker.confirm(0)
    bridge.loop.settle()

    assert {"event-1", *(f"event-{n}" for n in range(1000, 1010))} == in_flight(bridge)
    finish(bridge, rounds=WINDOW + 200)
    assert [*range(WINDOW + 100)] == [number for number in routed(bridge) if number < 1000]


# 1. more records than the window has room for have two rows each
# 2. each confirm makes the second row of its record due
# 3. the rows that are due fill the window before any further read does
def test_places_are_taken_by_those_whose_turn_has_come(bridge):
    """Rows that are called up are published within the window, and count before further reads."""
    bridge.broker.blocked = True
    records = [("superoffice", "Cust1", "contact", key) for key in range(WINDOW + 50)]
    for number, record in enumerate([*records, *records]):
        bridge.send(number, record=record)
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.loop.advance(0.2)
    while bridge.broker.in_flight:
        assert WINDOW >= len(bridge.broker.in_flight)
        bridge.broker.confirm(0)
        bridge.loop.settle()

    finish(bridge)
    assert 2 * len(records) == len(set(routed(bridge)))


# 1. three rows of one record are spooled; the second is damaged on the disk
# 2. the drain parks the second and publishes the others
def test_unreadable_row(bridge):
    """A row whose properties are damaged is parked with its body; its neighbours are published."""
    bridge.broker.blocked = True
    for number in range(3):
        bridge.send(number, record=RECORD)
    bridge.loop.settle()
    bridge.disk.damage(2)
    bridge.broker.blocked = False
    finish(bridge)

    assert [0, 2] == routed(bridge)
    assert {"event-1": "spool_unreadable"} == bridge.broker.parked


# 1. 1 is nacked until its tries are used up
# 2. superoffice.parked does not take it either, again and again
# 3. the pauses double up to an hour; in the end it is parked
def test_too_large_even_to_be_parked(bridge):
    """What the broker does not take even as parked stays on disk, with ever longer pauses."""
    bridge.send(1, record=RECORD)
    bridge.loop.settle()
    bridge.broker.nack(0)
    pauses = [refuse_again(bridge) for _ in range(REFUSED_TRIES + 9)]

    assert [60, 120, 240, 480, 960, 1920, 3600, 3600] == pauses[REFUSED_TRIES + 1 :]
    bridge.live()
    finish(bridge, jump=3600.0)
    assert {"event-1": "refused"} == bridge.broker.parked


# 1. 0 has proven the connection; 1 to 3 are passed over, as their exchange is missing
# 2. connection lost, made anew, and the exchange back, all in one instant
# 3. one row is published first
def test_new_connection_between_two_looks(bridge):
    """A connection that was lost and made anew in one instant is tried with one message, too."""
    bridge.broker.blocked = True
    bridge.send(0)
    bridge.loop.settle()
    bridge.quiesce()  # the drain has had an answer on this connection
    bridge.broker.gone("other")
    for number in range(1, 4):
        bridge.send(number, exchange="other")
    bridge.loop.settle()
    bridge.broker.lose()
    bridge.broker.connect()
    bridge.broker.exchanges.add("other")
    bridge.loop.advance(0.2)

    assert {"event-1"} == in_flight(bridge)
    finish(bridge)


SALE = {"key": "sale.sold"}
PATIENCE = 2.0


# 1. 1 is not confirmed in time: its place is held
# 2. 10 to 19 of that place are spooled; 20 to 29 of another one go directly
def test_silent_place_stops_nobody_else(bridge):
    """What is never confirmed goes aside after its deadline; the others are published directly."""
    first = bridge.send(1, record=RECORD, **SALE)
    bridge.loop.advance(PATIENCE + 0.2)
    for number in range(10, 20):
        bridge.send(number, **SALE)
    others = [bridge.send(number) for number in range(20, 30)]
    bridge.loop.settle()
    published = in_flight(bridge)
    while len(bridge.broker.in_flight) > 1:
        bridge.broker.confirm(1)
    bridge.loop.settle()

    assert Outcome.SPOOLED is first.outcome
    assert {f"event-{number}" for number in (1, *range(20, 30))} == published
    assert {Outcome.CONFIRMED} == {other.outcome for other in others}
    assert 0 == bridge.drain.backlog
    finish(bridge, jump=20.0)


# 1. 1 is never confirmed, and the connection is lost every minute
# 2. its place is tried with it again and again, at growing pauses
# 3. 20 copies in a day at the most
def test_copies_of_a_silent_event_in_a_day(bridge):
    """The only event of a place that is never confirmed is published at most 20 times a day."""
    bridge.send(1, record=RECORD, **SALE)
    bridge.loop.advance(PATIENCE + 0.2)
    copies = list(bridge.broker.in_flight)
    bridge.broker.lose()
    for _ in range(24 * 60):
        bridge.broker.connect()
        bridge.loop.jump(60)
        bridge.loop.advance(0.2)
        copies += [flight for flight in bridge.broker.in_flight if flight not in copies]
        bridge.loop.jump(PATIENCE)
        bridge.broker.expire()

    assert 10 < len(copies) <= 20
    finish(bridge, jump=7200.0)


# 1. 1 and 2 of one record go to two exchanges; that of 1 is missing
# 2. 2 waits behind 1; 3 of another record is published
# 3. the exchange returns: 1, then 2
def test_order_over_two_exchanges(bridge):
    """A later event of a record does not overtake one that waits for a missing exchange."""
    bridge.broker.blocked = True
    bridge.send(1, record=RECORD, exchange="other")
    bridge.send(2, record=RECORD)
    bridge.send(3, record=ANOTHER)
    bridge.loop.settle()
    bridge.broker.blocked = False
    bridge.broker.gone("other")
    for _ in range(5):
        bridge.live()
    before = routed(bridge)
    bridge.heal()
    finish(bridge)

    assert [3] == before
    assert [3, 2] == routed(bridge)
    assert ("other", "event-1") in bridge.broker.routed[:2]


# 1. 400 rows of one place are nacked, each of another record
# 2. a hundred are held by number; then their place is held, and the others are passed over
# 3. an event of another place goes directly
def test_many_refused_records_are_set_aside_by_place(bridge):
    """Of a place that refuses all, a hundred rows are held and the others lie on the disk."""
    records = [("superoffice", "Cust1", "sale", key) for key in range(400)]
    bridge.broker.full.update(records)
    for number, record in enumerate(records):
        bridge.send(number, record=record, **SALE)
    for _ in range(5):
        bridge.live(0)
    other = bridge.send(1000)
    bridge.loop.settle()

    assert len(bridge.drain._holding.held) <= 100
    assert 400 == bridge.spool.events
    assert 0 == bridge.drain.backlog
    assert "event-1000" in in_flight(bridge)
    bridge.broker.confirm_all()
    bridge.loop.settle()
    assert Outcome.CONFIRMED is other.outcome
    bridge.broker.full.clear()
    finish(bridge, jump=20.0)
    assert 401 == len(set(routed(bridge)))


# 1. 1 is nacked and held; 2 is passed over behind it
# 2. 3 is not confirmed in time, and confirmed before the drain has read its row
# 3. the sweep ends all the same, and 1 and 2 arrive
def test_late_confirm_of_a_row_that_was_never_read(bridge):
    """A row that is confirmed late, before the drain reads it, keeps no sweep from its end."""
    bridge.broker.full.add(RECORD)
    bridge.send(1, record=RECORD)
    bridge.live()
    bridge.send(2, record=RECORD, **SALE)
    bridge.loop.settle()
    bridge.disk.flows = False
    bridge.send(3, key="person.changed")
    bridge.loop.advance(PATIENCE)
    bridge.disk.commit()
    bridge.broker.confirm(0)
    bridge.loop.settle()
    bridge.disk.flows = True
    bridge.broker.full.clear()
    for _ in range(20):
        bridge.live(1.0)

    assert [3, 1, 2] == routed(bridge)
    assert not bridge.drain.is_sweeping
    assert 0 == bridge.drain.held_records


def in_flight(bridge):
    """Return the ids of what the broker has not settled."""
    return {flight.id for flight in bridge.broker.in_flight}


def refuse_again(bridge):
    """Close the channel on the next try; return after how many minutes, in seconds, it came."""
    for minute in range(100):
        bridge.broker.connect()
        bridge.loop.settle()
        if bridge.broker.in_flight:
            bridge.broker.close_channel()
            return 60 * minute
        bridge.loop.jump(60)
        bridge.loop.advance(0.2)
    raise AssertionError("it was never tried again")


# 1. 1 and 2 of one record must be spooled
# 2. the spool raises an error for 1: it is answered 503, and 2 is spooled
def test_an_error_of_the_spool_is_of_one_event(bridge, monkeypatch):
    """An event that cannot even be written down is refused, and those behind it have answers."""
    bridge.broker.gone("other")
    append = bridge.spool.append

    def failing(made, **options):
        if made.message_id == "event-1":
            raise UnicodeEncodeError("utf-8", "", 0, 1, "surrogates")
        return append(made, **options)

    monkeypatch.setattr(bridge.spool, "append", failing)
    first, second = (
        bridge.send(1, record=RECORD, exchange="other"),
        bridge.send(2, record=RECORD, exchange="other"),
    )
    bridge.live()

    assert (Outcome.NOT_SENT, Outcome.SPOOLED) == (first.outcome, second.outcome)
    bridge.heal()
    finish(bridge)


class Moody(str):
    """A text that cannot be looked up, once."""

    moods: list[Exception]

    def __hash__(self):
        """Fail as often as there are moods."""
        if self.moods:
            raise self.moods.pop()
        return super().__hash__()


# 1. 1 and 2 are not confirmed in time
# 2. spooling 1 raises an error
# 3. the timer goes on: both are spooled
def test_an_error_ends_no_deadline_but_its_own(bridge):
    """Whatever goes wrong with one event that is due, the next ones are due as well."""
    entity = Moody("contact")
    entity.moods = []
    record = ("superoffice", None, entity, 1)
    sent = [bridge.send(1, record=record), bridge.send(2, record=None)]
    bridge.loop.settle()
    entity.moods.append(LookupError("of one event"))
    bridge.loop.advance(DEADLINE + 1)

    assert [Outcome.SPOOLED, Outcome.SPOOLED] == [each.outcome for each in sent]
    assert 1 == len(bridge.loop.failures)
    bridge.loop.failures.clear()


# 1. 1, 2 and 3 of one record come
# 2. 1 fails before it is published: it is answered 503
# 3. 2 and 3 have their turn
def test_an_error_before_the_wire_is_of_one_event(bridge, monkeypatch):
    """Its sender is told to try again, and those that wait for it have their turn."""
    ask = bridge.drain.comes_first

    def failing(message):
        if message.message_id == "event-1":
            raise MemoryError
        return ask(message)

    monkeypatch.setattr(bridge.drain, "comes_first", failing)
    sent = [bridge.send(number, record=RECORD) for number in (1, 2, 3)]
    bridge.live()
    bridge.live()

    assert [Outcome.NOT_SENT, Outcome.CONFIRMED, Outcome.CONFIRMED] == [
        each.outcome for each in sent
    ]
    assert [2, 3] == routed(bridge)


# 1. 1 is on the disk
# 2. the drain fails when it is told so
# 3. the answer is 200 all the same
def test_an_error_of_the_drain_keeps_nobody_from_an_answer(bridge, monkeypatch):
    """What is on the disk is answered 200, whatever the drain makes of it."""
    bridge.broker.gone("other")

    def failing(row):
        raise LookupError(row.seq)

    monkeypatch.setattr(bridge.drain, "spooled", failing)
    sent = bridge.send(1, record=RECORD, exchange="other")
    bridge.live()

    assert Outcome.SPOOLED == sent.outcome
    assert [LookupError] == [type(each["exception"]) for each in bridge.loop.failures]
    bridge.loop.failures.clear()


# 1. there is no memory to publish 1: it is spooled
# 2. 2 of the same record follows it
def test_memory_that_ends_before_a_publish(bridge, monkeypatch):
    """What there was no memory to send is spooled, and its record goes on."""

    def ends(message):
        monkeypatch.undo()
        raise MemoryError

    monkeypatch.setattr(bridge.broker, "submit", ends)
    first = bridge.send(1, record=RECORD)
    second = bridge.send(2, record=RECORD)
    bridge.loop.settle()
    finish(bridge)

    assert (Outcome.SPOOLED, Outcome.SPOOLED) == (first.outcome, second.outcome)
    assert [1, 2] == routed(bridge)


# 1. an older version has spooled 1 with a record in capitals; its exchange is missing
# 2. after a restart 2 comes, of the same record in lower case
# 3. 2 waits behind 1
def test_row_of_an_older_version_with_capitals(bridge):
    """A row whose record was stored with the case of its entity holds up the later ones."""
    bridge.broker.gone("other")
    bridge.send(1, record=("superoffice", "Cust1", "Contact", 1), exchange="other")
    bridge.loop.settle()
    bridge.kill()
    bridge.start()
    for _ in range(3):
        bridge.live()
    bridge.send(2, record=RECORD)
    for _ in range(3):
        bridge.live()
    before = routed(bridge)
    bridge.heal()
    finish(bridge, jump=5.0)

    assert [] == before
    assert ["other", "superoffice"] == [exchange for exchange, _ in bridge.broker.routed]


def failing_once(function):
    """Return a function that has no memory the first time."""
    failures = [MemoryError()]

    def call(*arguments, **options):
        if failures:
            raise failures.pop()
        return function(*arguments, **options)

    return call


def run_again(bridge):
    """Do what the service does when the drain has ended with an error."""
    assert isinstance(bridge.running.exception(), MemoryError)
    bridge.running = bridge.loop.create_task(bridge.drain.run())


def trials_under_way(bridge):
    """Return how many rows are on trial."""
    return bridge.drain._step._publishing._wire.trials


def have_a_trial_due(bridge, trouble):
    """Let an event be refused, so that it is held, or be silent until its channel ends."""
    if trouble == "refused":
        bridge.broker.full.add(RECORD)
    bridge.send(1, record=RECORD)
    bridge.loop.settle()
    if trouble == "refused":
        bridge.broker.confirm_all()
    else:
        bridge.loop.advance(DEADLINE)
        bridge.broker.lose()
        bridge.broker.connect()


def spool_three(bridge):
    """Have 1 and 2 of a record and 3 of another one on the disk, and the broker blocked."""
    bridge.broker.blocked = True
    for number, record in ((1, RECORD), (2, RECORD), (3, ANOTHER)):
        bridge.send(number, record=record)
    bridge.loop.advance(DEADLINE)


# 1. 1 is held, or its place is
# 2. there is no memory for the trial, so the drain ends, and is run again
# 3. the trial is made, and counted once
@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_memory_that_ends_before_a_trial(bridge, monkeypatch, trouble):
    """It is made again, of a row that is held as of a place, and takes no other's turn for ever."""
    have_a_trial_due(bridge, trouble)
    monkeypatch.setattr(bridge.broker, "try_alone", failing_once(bridge.broker.try_alone))
    bridge.loop.advance(1.5)
    run_again(bridge)
    bridge.broker.full.clear()
    bridge.loop.advance(1.5)
    under_way = trials_under_way(bridge)
    finish(bridge, jump=1.1)

    assert 1 == under_way
    assert 0 == trials_under_way(bridge)
    assert [1] == routed(bridge)


# 1. 1 is spooled while the broker is blocked
# 2. there is no memory to publish it, so the drain ends, and is run again
# 3. 1 is still due, and published
def test_memory_that_ends_before_a_row_is_published(bridge, monkeypatch):
    """A row that is read and not on the wire yet is read again."""
    bridge.broker.blocked = True
    bridge.send(1, record=RECORD)
    bridge.loop.advance(DEADLINE)
    monkeypatch.setattr(bridge.broker, "submit", failing_once(bridge.broker.submit))
    bridge.broker.blocked = False
    bridge.loop.advance(1.0)
    run_again(bridge)
    finish(bridge)

    assert [1] == routed(bridge)


# 1. 1 and 2 of a record, and 3 of another one, are spooled while the broker is blocked
# 2. there is no memory when 1 is read, so the drain ends, and is run again
# 3. 1 is read again, before the others
def test_memory_that_ends_when_a_row_is_read(bridge, monkeypatch):
    """A row that was reached and has no turn yet is read again, in its order."""
    spool_three(bridge)
    exchanges = bridge.drain._holding.exchanges
    monkeypatch.setattr(exchanges, "hold_if_missing", failing_once(exchanges.hold_if_missing))
    bridge.broker.blocked = False
    bridge.loop.advance(1.0)
    run_again(bridge)
    finish(bridge)

    assert [1, 2, 3] == routed(bridge)


# 1. 1 and 2 of a record, and 3 of another one, are spooled while the broker is blocked
# 2. there is an error whenever 1 is read for the first time: twice
# 3. 1 is passed over, and 2 behind it; 3 is published
# 4. a sweep reads 1 and 2
def test_a_row_that_cannot_be_read_for_the_first_time(bridge, monkeypatch):
    """It keeps only its own record waiting, and a sweep finds it."""
    spool_three(bridge)
    exchanges = bridge.drain._holding.exchanges
    seen: list[object] = []
    hold_if_missing = exchanges.hold_if_missing

    def failing(message):
        if message.message_id == "event-1" and len(seen) < 2:
            seen.append(message)
            raise MemoryError
        return hold_if_missing(message)

    monkeypatch.setattr(exchanges, "hold_if_missing", failing)
    bridge.broker.blocked = False
    for _ in range(2):
        bridge.loop.advance(1.0)
        run_again(bridge)
    finish(bridge)

    found = routed(bridge)

    assert 2 == len(seen)
    assert [1, 2, 3] == sorted(found)
    assert found.index(1) < found.index(2)


# 1. there is no memory for the timer of 1's deadline: the caller has the error
# 2. the next attempt with 1 succeeds
def test_memory_that_ends_before_the_timer(bridge, monkeypatch):
    """An event whose deadline cannot be watched is not taken, and no trace of it is left."""
    monkeypatch.setattr(bridge.loop, "call_at", failing_once(bridge.loop.call_at))
    sent = bridge.send(1, record=RECORD)
    bridge.loop.settle()
    bridge.sent.remove(sent)
    monkeypatch.undo()
    again = bridge.send(1, record=RECORD)
    finish(bridge)

    assert isinstance(sent.task.exception(), MemoryError)
    assert Outcome.CONFIRMED == again.outcome
    assert not bridge.outbox._pending


def among_others(bridge, monkeypatch):
    """Try on the channel of the others what is to be tried alone, and give it up at once."""

    def try_alone(message, *, apart=False):
        trial = Publish(message)
        tried = bridge.broker.submit(message)
        if tried.outcome is None:
            trial.straggler = tried
        trial.settle(tried.outcome or Outcome.UNKNOWN)
        return trial

    monkeypatch.setattr(bridge.broker, "try_alone", try_alone)


# 1. 1 is held, or its place is
# 2. its trial goes on the common channel, and is given up
# 3. no other trial is made while that copy may be confirmed
# 4. it is confirmed late, or its connection is lost: then 1 is published again
@pytest.mark.parametrize("end", ["confirm_all", "lose"])
@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_trial_that_is_given_up_among_others(bridge, monkeypatch, trouble, end):
    """It is made no second time while its copy may be confirmed, which then counts."""
    have_a_trial_due(bridge, trouble)
    among_others(bridge, monkeypatch)
    bridge.loop.advance(2.0)
    for _ in range(50):
        bridge.loop.jump(60.0)
    bridge.broker.full.clear()
    copies = len(bridge.broker.in_flight)
    getattr(bridge.broker, end)()
    bridge.loop.settle()
    waiting = bridge.spool.events
    finish(bridge, jump=60.0)

    assert 1 == copies
    assert (end == "lose") == waiting
    assert [1] == routed(bridge)
    assert 0 == len(bridge.drain._rows)


# 1. 1 is damaged on the disk; its copy for parking is nacked once
# 2. the next one goes on the common channel, and is given up
# 3. it is confirmed late: 1 is parked, once
def test_parking_that_is_given_up_among_others(bridge, monkeypatch):
    """A late confirm of what was to be parked is one of the copy, and of no other place."""
    bridge.broker.gone("other")
    bridge.send(1, record=RECORD, exchange="other")
    bridge.loop.settle()
    bridge.disk.damage(1)
    bridge.kill()
    bridge.start()
    monkeypatch.setattr(bridge.broker, "submit", _refusing_once(bridge.broker.submit))
    bridge.broker.connect()
    bridge.loop.advance(1.0)
    among_others(bridge, monkeypatch)
    for _ in range(50):
        bridge.loop.jump(60.0)
    copies = len(bridge.broker.in_flight)
    bridge.broker.confirm_all()
    bridge.loop.settle()

    assert 1 == copies
    assert (0, 0) == (bridge.spool.events, bridge.drain.held_records)
    assert ["event-1"] == list(bridge.broker.parked)


def _refusing_once(submit):
    """Return a broker's ``submit`` that refuses the first message at once."""
    refusals = [Outcome.REFUSED]

    def call(message, **options):
        if not refusals:
            return submit(message, **options)
        publish = Publish(message)
        publish.settle(refusals.pop())
        return publish

    return call


# 1. 1 is held, or its place is; its trial is nacked
# 2. there is no memory to count that
# 3. another trial is made
@pytest.mark.parametrize("trouble", ["refused", "silent"])
def test_memory_that_ends_after_a_trial(bridge, monkeypatch, trouble):
    """A row that is held, or a place, is tried again, whatever became of the outcome."""
    have_a_trial_due(bridge, trouble)
    bridge.broker.full.add(RECORD)
    monkeypatch.setattr(bridge.spool, "note_tries", failing_once(bridge.spool.note_tries))
    bridge.loop.advance(1.5)
    with pytest.raises(MemoryError):
        bridge.broker.confirm_all()
    bridge.broker.full.clear()
    finish(bridge, jump=1.1)

    assert [1] == routed(bridge)


# 1. the broker is blocked; there is no memory to hand 1 to the disk: it is answered 503
# 2. 2 is written, and counted alone
def test_memory_that_ends_before_the_disk(bridge, monkeypatch):
    """What could not be handed to the disk is counted nowhere, and the next event is written."""
    loop = SimpleNamespace(
        call_soon=failing_once(bridge.loop.call_soon),
        call_later=bridge.loop.call_later,
        call_exception_handler=bridge.loop.call_exception_handler,
    )
    monkeypatch.setattr(bridge.spool._writer, "_loop", loop)
    bridge.broker.blocked = True
    first = bridge.send(1, record=RECORD)
    bridge.loop.settle()
    second = bridge.send(2, record=RECORD)
    bridge.loop.settle()
    counted = bridge.spool.events, bridge.spool.bytes
    monkeypatch.undo()

    assert (Outcome.NOT_SENT, Outcome.SPOOLED) == (first.outcome, second.outcome)
    assert bridge.disk.counted() == counted
    finish(bridge)
    assert [2] == routed(bridge)
