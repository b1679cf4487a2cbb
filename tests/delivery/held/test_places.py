"""Places that misbehave in any way and order: all others go on, and in the end everything arrives.

An example is a list of moves like that of ``test_model``. Its moves are those of queues: a place is
an exchange and a key, and is well, silent, full, or makes the broker close the channel. Some
examples give the bridge so little room that each of its bounds is met.
"""

from collections import Counter, defaultdict
from itertools import product

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.backoff import delay
from bridge.core.message import PARKED
from bridge.core.publish import Outcome
from bridge.delivery import records, sweeping, waiting
from bridge.delivery.held import held_rows, places
from bridge.delivery.rows import ON_TRIAL, PASSED_OVER, SILENT
from tests.delivery.bridge_under_test import DEADLINE, EXCHANGES, Bridge
from tests.delivery.scripted import ScriptedBroker
from tests.delivery.test_model import directory

KEYS = ("contact.created", "sale.sold", "person.changed")
PLACES = tuple(product(EXCHANGES, KEYS))
WELL = ("superoffice", "project.created")
"""A place to which nothing ever happens; what is sent there must not wait."""

RECORDS = tuple(("superoffice", "Cust1", "contact", key) for key in range(4))
AT_MOST_OVERDUE = 16
COPIES_A_DAY = 20
TICK = 0.1


class Places(ScriptedBroker):
    """A broker with queues that have moods, and that counts the copies of each event."""

    def __init__(self, exchanges):
        self.moods: dict[tuple[str, str], str] = {}
        self.copies: Counter[str] = Counter()
        self.apart: set[object] = set()
        self.cuts_refused = False
        self.renewals = 0
        self.unanswered: set[str] = set()
        """Ids of messages that are never confirmed, whatever their place does."""
        self.unheard: set[object] = set()
        """Publishes whose confirms are lost."""
        self.quota: Counter[tuple[str, str]] = Counter()
        """How many a silent place takes all the same."""
        super().__init__(exchanges)

    def mood(self, message):
        """Return how the place of a message is."""
        place = message.exchange, message.routing_key
        if message.message_id in self.unanswered and message.exchange != PARKED:
            return "silent"
        return "well" if self.quota[place] > 0 else self.moods.get(place, "well")

    def submit(self, message, *, alone=False):
        """Count what is on the wire."""
        publish = super().submit(message, alone=alone)
        if publish.outcome is None and message.exchange != PARKED:
            self.copies[message.message_id] += 1
        return publish

    def serve(self):
        """Settle all that can be settled."""
        for flight in list(self.in_flight):
            answers = flight not in self.unheard and self.mood(flight.message) != "silent"
            if flight in self.in_flight and answers:
                self.process(self.in_flight.index(flight) + 1)
                self.quota[flight.message.exchange, flight.message.routing_key] -= 1
                if flight in self.in_flight:
                    self._settle(flight)
        late = [f for f in self.in_flight if not f.alone and f.at + self.patience <= self.now()]
        if len(late) >= AT_MOST_OVERDUE or (late and self._waits_too_long(late[0])):
            self.lose()

    def _waits_too_long(self, flight):
        """Renew the connection as the publisher does, later each time."""
        patience = delay(self.renewals + 1, base=600.0, cap=3600.0, spread=0)
        is_lost = flight.at + patience <= self.now()
        self.renewals += is_lost
        return is_lost

    def try_alone(self, message, *, apart=False):
        """Take a message onto a channel of its own, or a connection."""
        publish = super().try_alone(message)
        self.apart |= {publish} if apart else set()
        return publish

    def _cut(self, flight):
        """End the connection that a message is on."""
        if flight.publish not in self.apart:
            self.lose()
            return
        self.in_flight.remove(flight)
        self.cuts_refused ^= True  # the broker says why, or does not
        flight.publish.culprit = self.cuts_refused
        flight.publish.settle(Outcome.REFUSED if self.cuts_refused else Outcome.UNKNOWN)

    def expire(self):
        """End the trials that took too long: who was alone for so long did not close a channel."""
        alone = {flight.id for flight in self.in_flight if flight.alone}
        super().expire()
        self.suspects -= alone - {flight.id for flight in self.in_flight}

    def _work_on(self, flight):
        mood = self.mood(flight.message)
        if mood == "silent":
            return False
        if mood == "closes":
            self._abandon(by_broker=True, alone=flight if flight.alone else None)
            return False
        if mood == "cuts":
            self._cut(flight)
            return False
        if mood == "full":
            flight.fate = "refused"
            return True
        return super()._work_on(flight)


class Village:
    """A bridge, and the places around it."""

    def __init__(self, path, **room):
        self.broker = Places(EXCHANGES)
        self.bridge = Bridge(path, broker=self.broker, **room)
        self.watch()
        self.broker.connect()
        self.numbers = 0
        self.connection = 0
        self.began = self.bridge.loop.time()
        self.waits: dict[str, int] = {}
        """For how many moments events of the place that is always well have waited."""

    def watch(self):
        """Look at the shares whenever a sweep has ended; no row is gone without a reason."""
        drain = self.bridge.drain
        pace = drain._step.sweeping._pace
        end = pace.end

        def ended(*arguments):
            end(*arguments)
            self.sweep_ends()

        setattr(pace, "end", ended)  # noqa: B010  # a method
        setattr(drain._step._publishing._tally, "rows_gone", self.broker.broken.append)  # noqa: B010

    def send(self, records, place):
        """Hand over some messages for one place."""
        for record in records:
            self.numbers += 1
            exchange, key = place
            self.bridge.send(self.numbers, record=record, exchange=exchange, key=key)

    def send_well(self):
        """Hand over a message of a record and a place that have nothing to do with the others."""
        self.send([None], WELL)
        self.waits[self.bridge.sent[-1].id] = 0

    def mood(self, place, mood):
        """A queue changes."""
        self.broker.moods[place] = mood

    def gone(self, exchange):
        """An exchange is deleted."""
        self.broker.gone(exchange)

    def back(self, exchange):
        """And declared again."""
        self.broker.exchanges.add(exchange)

    def lose(self):
        """The connection goes."""
        self.broker.lose()

    def live(self, seconds):
        """Let time pass while the broker does what it can."""
        end = self.bridge.loop.time() + seconds
        while self.bridge.loop.time() < end:
            self.tick()

    def tick(self):
        """Let a moment pass."""
        bridge, broker = self.bridge, self.broker
        broker.connect()
        bridge.loop.settle()
        broker.serve()
        bridge.loop.advance(TICK)
        broker.expire()
        self.rules_are_kept()

    def disk(self, step):
        """The disk works, or stands still but for one step."""
        self.bridge.disk.flows = step == "flow"
        if not self.bridge.disk.flows:
            getattr(self.bridge.disk, step)()

    def refuse(self, refuses):
        """The disk takes nothing, and deletions are owed; or it does again."""
        self.bridge.disk.refuse(refuses)

    def jump(self, seconds):
        """Much time passes at once; what was on the wire seems to be silent then."""
        self.waits.clear()
        self.bridge.loop.jump(seconds)
        self.tick()

    def kill(self):
        """The process ends and another one begins."""
        self.bridge.kill()
        self.bridge.start()
        self.watch()
        self.broker.connect()
        accepted = {sent.id for sent in self.bridge.sent}
        self.waits = {message_id: 0 for message_id in self.waits if message_id in accepted}

    def rules_are_kept(self):
        """Nothing was raised, no rule of the wire broken, and nothing well waits."""
        assert not self.broker.broken, str(self.broker.broken)
        assert [] == self.bridge.loop.failures
        assert not self.bridge.running.done()
        self.who_is_well_does_not_wait()
        self.copies_are_bounded()
        self.what_is_held_is_bounded()
        self.shares_are_counted()

    def who_is_well_does_not_wait(self):
        """What has nothing to do with any trouble arrives within a deadline, and a little.

        Each new connection is tried with one message first, which may be any.
        """
        if self.broker.connection != self.connection:
            self.connection = self.broker.connection
            self.waits = dict.fromkeys(self.waits, 0)
        if not self.bridge.disk.flows:
            self.waits.clear()
        for message_id in list(self.waits):
            self.waits[message_id] += 1
            if (WELL[0], message_id) in self.arrived:
                del self.waits[message_id]
            else:
                assert self.waits[message_id] * TICK < DEADLINE + 1.0, f"{message_id} waits"

    def copies_are_bounded(self):
        """No event is published more than 20 times a day, but for connections that are lost."""
        days = 1 + (self.bridge.loop.time() - self.began) // 86_400
        most = max(self.broker.copies.values(), default=0)
        assert most <= COPIES_A_DAY * days + self.broker.connection

    def what_is_held_is_bounded(self):
        """However much goes wrong, so many rows are held, and each place counts its own."""
        rows = self.bridge.drain._holding.held
        guilty = Counter(each.place for each in rows if each.charge == "guilty")
        assert len(rows) <= held_rows.HELD
        assert sum(each.charge == "suspected" for each in rows) <= held_rows.SUSPECTS
        assert max(guilty.values(), default=0) <= held_rows.HELD_OF_A_PLACE
        counted: Counter[places.Place] = Counter()
        for each in rows:
            for level in places.levels(each.place):
                counted[level] += each.size
        assert {place: rows.bytes_of(place) for place in counted} == dict(counted)
        assert rows._bytes == counted

    def shares_are_counted(self):
        """Nothing that is passed over is counted in no share."""
        assert self.bridge.drain._holding.passed.shares.passed_over >= self.passed_over()

    def passed_over(self):
        """Return how many bytes are neither of the backlog, nor under way, nor held.

        They are on the disk, or on their way to it.
        """
        drain, disk = self.bridge.drain, self.bridge.disk
        storing = {row.seq: row.size for row in drain._arrivals}
        gone = self.bridge.spool._deleting | self.bridge.spool._deleted
        return sum(
            size
            for seq, size in {**storing, **disk.sizes()}.items()
            if drain._rows[seq] in (PASSED_OVER, SILENT, ON_TRIAL)
            and seq not in gone
            and drain._holding.held.get(seq) is None
        )

    def sweep_ends(self):
        """Compare the shares with the disk: after a sweep they are exact."""
        assert self.bridge.drain._holding.passed.shares.passed_over == self.passed_over()

    @property
    def arrived(self):
        """Return what has reached an exchange."""
        return set(self.broker.routed)

    def some_get_well(self, well):
        """Some queues are well again, the others never: what waits for those alone arrives."""
        self.bridge.heal()
        for place in well:
            self.broker.moods.pop(place, None)
        for _ in range(30):
            self.jump(7300.0)
            self.live(2.5)
        behind = set()
        for sent in self.bridge.sent:
            message = sent.message
            arrived = (message.exchange, sent.id) in self.arrived or sent.id in self.broker.parked
            if not arrived:  # one that was answered 503 for a slow disk may be on it all the same
                is_ill = self.broker.mood(message) != "well" or not sent.accepted
                assert is_ill or message.record in behind, f"{sent.id} waits for nothing"
                behind |= {message.record} - {None}

    def all_get_well(self):
        """Every queue is well again: everything arrives."""
        self.broker.moods.clear()
        self.bridge.heal()
        for _ in range(400):
            self.jump(7300.0)
            self.live(1.0)
            if not (
                self.bridge.spool.events or self.broker.in_flight or self.bridge.drain.is_sweeping
            ):
                break
        self.everything_arrived()
        self.order_is_kept()
        self.nothing_is_left()

    def everything_arrived(self):
        """Whatever was accepted is in its exchange, or parked."""
        for sent in self.bridge.sent:
            arrived = (
                sent.message.exchange,
                sent.id,
            ) in self.arrived or sent.id in self.broker.parked
            assert arrived or not sent.accepted, f"{sent.id} is lost"

    def order_is_kept(self):
        """First copies of a record's events are in order, over all places."""
        first: dict[str, int] = {}
        for at, (exchange, message_id) in enumerate(self.broker.routed):
            if exchange != PARKED:
                first.setdefault(message_id, at)
        lines = defaultdict(list)
        for sent in self.bridge.sent:
            arrived = sent.id in first and sent.id not in self.broker.parked
            if sent.accepted and sent.message.record and arrived:
                lines[sent.message.record].append((first[sent.id], sent.id))
        for line in lines.values():
            assert sorted(line) == line

    def nothing_is_left(self):
        """All memory is empty."""
        bridge = self.bridge
        drain = bridge.drain
        holding = drain._holding
        assert (0, 0) == (bridge.spool.events, bridge.spool.bytes) == bridge.disk.counted()
        assert 0 == drain.backlog
        assert 0 == drain.held_records == drain.held_places
        assert not drain.is_sweeping
        bridge.drain_is_empty()
        assert not drain._waiting._handed
        for left in (holding.held, holding.passed.records, holding.suspects.untried):
            assert not left, left
        assert not holding.suspects.on_disk
        assert 0 == holding.passed.shares.passed_over


MOVES = {
    "send": st.tuples(
        st.just("send"),
        st.lists(st.sampled_from([None, *RECORDS]), min_size=1, max_size=5),
        st.sampled_from(PLACES),
    ),
    "send_well": st.just(("send_well",)),
    "live": st.tuples(st.just("live"), st.sampled_from([0.1, 0.5, 1.0, 2.0, 2.2, 4.0])),
    "mood": st.tuples(
        st.just("mood"),
        st.sampled_from(PLACES),
        st.sampled_from(["silent", "full", "closes", "cuts", "well", "well"]),
    ),
    "jump": st.tuples(st.just("jump"), st.sampled_from([1.0, 4.0, 16.0, 64.0, 601.0, 5000.0])),
}
TROUBLES = {
    "lose": st.just(("lose",)),
    "kill": st.just(("kill",)),
    "exchange": st.tuples(st.sampled_from(["gone", "back"]), st.just("other")),
    "disk": st.tuples(st.just("disk"), st.sampled_from(["commit", "select", "answer", "flow"])),
    "full disk": st.tuples(st.just("refuse"), st.booleans()),
    "none": st.just(("send_well",)),
}


@st.composite
def examples(draw):
    """Return what happens, which places are well again before the others, and the room there is."""
    trouble = draw(st.sampled_from(sorted(TROUBLES)))
    calm = [MOVES[kind] for kind in ("send", "send", "live", "live", "mood", "send_well", "jump")]
    moves = draw(st.lists(st.one_of(*calm, TROUBLES[trouble]), min_size=10, max_size=40))
    return moves, draw(st.sets(st.sampled_from(PLACES))), draw(st.booleans())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(examples())
def test_places(without_threads, monkeypatch, example):
    """Whatever places do, the others go on, order and bounds hold, and in the end all arrives."""
    moves, well_first, narrow = example
    with directory() as path, monkeypatch.context() as patch:
        make_room(patch, narrow=narrow)
        village = Village(path)
        try:
            for name, *arguments in moves:
                getattr(village, name)(*arguments)
            village.some_get_well(well_first)
            village.all_get_well()
        finally:
            village.bridge.kill()


def make_room(patch, *, narrow):
    """Leave out the hourly sweep, which would hide what is forgotten; narrow the bounds."""
    patch.setattr(sweeping, "AT_LEAST_EVERY_SECONDS", float("inf"))
    patch.setattr(waiting, "_AT_ONCE", 2)
    if narrow:
        patch.setattr(held_rows, "HELD", 6)
        patch.setattr(held_rows, "HELD_OF_A_PLACE", 3)
        patch.setattr(held_rows, "SUSPECTS", 3)
        patch.setattr(places, "KEYS_OF_A_KIND", 1)
        patch.setattr(records, "EXACT", 2)
        patch.setattr(records, "FEW", 2)
