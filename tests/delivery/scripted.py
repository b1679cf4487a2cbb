"""A broker that does what a test says, and holds the bridge to the rules of the wire."""

from collections import Counter
from collections.abc import Callable

from bridge.core.message import PARKED
from bridge.core.publish import Outcome, Publish


class Flight:
    """One publish on the channel; ``fate`` is what the broker did with it, once it has."""

    def __init__(self, publish, *, from_spool, alone, at):
        self.publish = publish
        self.alone = alone
        self.at = at
        self.from_spool = from_spool
        self.fate = None

    def __repr__(self):
        """Show id, exchange and fate."""
        return f"<{self.id} {self.publish.message.exchange} {self.fate}>"

    @property
    def id(self):
        """Return the message id."""
        return self.publish.message.message_id

    @property
    def message(self):
        """Return the message."""
        return self.publish.message


class ScriptedBroker:
    """Implements ``Publisher``. Broken rules are collected in ``broken``.

    ``routed`` has what reached an exchange, in order: (exchange, id). Queues of the records in
    ``full`` refuse, ids in ``poison`` make the broker close the channel, ids in ``unbound`` find no
    queue. What is known of a message ends with the process that knew it: ``new_process``.
    """

    def __init__(self, exchanges):
        self.exchanges = {*exchanges, PARKED}
        self.connected = False
        self.blocked = False
        self.routed = []
        self.parked = {}
        self.unrouted = set()
        self.full = set()
        self.poison = set()
        self.unbound = set()
        self.refusals: Counter[str] = Counter()
        self.broken = []
        self.connection = 0
        self.patience = 2.0
        self.now: Callable[[], float] = float
        """The clock; replaced by the one of the test."""
        self.new_process()

    def new_process(self):
        """Forget what a process that was killed had known."""
        self.connected = False
        self.in_flight = []
        self.spooled = set()
        self.dropped = set()
        self.confirmed = set()
        self.suspects = set()
        self._begin()

    def _begin(self):
        self._verdicts = 0

    # What the bridge sees

    @property
    def is_up(self):
        """Return whether messages are taken now."""
        return self.connected and not self.blocked

    def can_publish_to(self, exchange):
        """Return whether an exchange is there."""
        return exchange in self.exchanges

    def try_alone(self, message, *, apart=False):
        """Take a message onto a channel of its own."""
        return self.submit(message, alone=True)

    def submit(self, message, *, alone=False):
        """Take a message onto the wire."""
        publish = Publish(message)
        if not (self.is_up and self.can_publish_to(message.exchange)):
            publish.settle(Outcome.NOT_SENT)
            return publish
        spooled = message.message_id in self.spooled
        flight = Flight(publish, from_spool=spooled, alone=alone, at=self.now())
        self._check(flight)
        self.in_flight.append(flight)
        return publish

    # What the script does

    def connect(self, *, proven=False):
        """Bring a connection up; ``proven`` does not ask for a first batch of one."""
        if not self.connected:
            self.connected, self.blocked = True, False
            self.connection += 1
            self._begin()
            self._verdicts += proven

    def lose(self, processed=0):
        """Lose the connection after some of what was on the wire had been processed."""
        self.process(processed)
        self._abandon(by_broker=False)

    def close_channel(self):
        """Close the channel because of something in flight; a trial's if there is no other."""
        alone = all(flight.alone for flight in self.in_flight)
        self._abandon(by_broker=True, alone=self.in_flight[0] if self.in_flight and alone else None)

    def process(self, count):
        """Work on what is on the wire, in its order, up to the given place."""
        for flight in self.in_flight[:count]:
            if flight.fate is None and not self._work_on(flight) and not self.connected:
                return

    def confirm(self, index):
        """Ack or nack one publish, whichever it deserves."""
        flight = self.in_flight[index]
        self.process(index + 1)
        if flight in self.in_flight:
            self._settle(flight)

    def nack(self, index):
        """Refuse a publish, unless a queue has it already."""
        flight = self.in_flight[index]
        self.process(index)
        if flight in self.in_flight:
            flight.fate = flight.fate or "refused"
            self._settle(flight)

    def confirm_all(self):
        """Settle everything on the wire."""
        while self.in_flight:
            self.confirm(0)

    def gone(self, exchange):
        """Take an exchange away."""
        self.exchanges.discard(exchange)
        self.suspects.clear()  # those of the exchange leave the line; the others stay, unproven

    # How it does it

    def _work_on(self, flight):
        message = flight.message
        to_parked = message.exchange == PARKED
        if flight.id in self.poison and not to_parked:
            self._abandon(by_broker=True, alone=flight if flight.alone else None)
            return False
        if message.record in self.full and not to_parked:
            flight.fate = "refused"
        elif flight.id in self.unbound and not to_parked:
            flight.fate = "returned"
            self.unrouted.add(flight.id)
        else:
            flight.fate = "routed"
            self.routed.append((message.exchange, flight.id))
            if to_parked:
                self.parked[flight.id] = message.headers["reason"]
        return True

    def _settle(self, flight):
        outcomes = {
            "routed": Outcome.CONFIRMED,
            "returned": Outcome.UNROUTED,
            "refused": Outcome.REFUSED,
        }
        self.in_flight.remove(flight)
        self._verdicts += 1
        self.suspects.discard(flight.id)
        if flight.fate == "refused":
            self._note_refused(flight)
        else:
            self.confirmed.add(flight.id)
        flight.publish.settle(outcomes[flight.fate])

    def _note_refused(self, flight):
        self.refusals[flight.id] += 1

    def _abandon(self, *, by_broker, alone=None):
        """Close a trial's channel, or the common one, and with that the connection."""
        if alone is not None:
            self.in_flight.remove(alone)
            self._lose([alone], blamed=True)
            return
        lost, self.in_flight = self.in_flight, []
        self.connected = False
        self._lose([flight for flight in lost if not flight.alone], blamed=by_broker)
        self._lose([flight for flight in lost if flight.alone], blamed=False)

    def _lose(self, lost, *, blamed):
        culprit = blamed and len(lost) == 1
        self._verdicts += culprit
        for flight in lost:
            self._note_lost(flight, culprit=culprit, suspect=blamed and not culprit)
        for flight in lost:
            flight.publish.suspect = blamed and not culprit
            flight.publish.culprit = culprit
            flight.publish.settle(Outcome.REFUSED if culprit else Outcome.UNKNOWN)

    def expire(self):
        """End the trials that took too long: their channels are closed."""
        late = [f for f in self.in_flight if f.alone and f.at + self.patience <= self.now()]
        self.in_flight = [flight for flight in self.in_flight if flight not in late]
        self._verdicts += bool(late)
        self._lose(late, blamed=False)

    def _note_lost(self, flight, *, culprit, suspect):
        if culprit:
            self._note_refused(flight)
            self.suspects.discard(flight.id)
        elif suspect and flight.message.exchange != PARKED and flight.id not in self.dropped:
            self.suspects.add(flight.id)

    # The rules of the wire

    def _check(self, flight):
        others = [other for other in self.in_flight if other.id not in self.dropped]
        if flight.message.exchange != PARKED:
            self._check_record(flight, others)
            self._check_suspects(flight, others)
        if flight.id in {other.id for other in others}:
            self.broken.append(f"{flight} is unresolved and published again")
        if flight.id in self.confirmed:
            self.broken.append(f"{flight} was confirmed and is published again")
        if flight.from_spool and not self._verdicts and self._asked():
            self.broken.append(f"{flight}: more than one before the connection proved itself")

    def _asked(self):
        """Return whether something from the spool waits for its answer, and none too long."""
        asked = [other.at for other in self.in_flight if other.from_spool]
        return bool(asked) and min(asked) > self.now() - self.patience

    def _check_record(self, flight, others):
        record = flight.message.record
        for other in others:
            if record and other.message.record == record and other.message.exchange != PARKED:
                self.broken.append(f"{flight} and {other}: two unresolved of one record")

    def _check_suspects(self, flight, others):
        for other in others:
            if flight.id in self.suspects and not flight.alone:
                self.broken.append(f"{flight} and {other}: a suspect is not alone")
