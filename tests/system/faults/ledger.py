"""What was sent, what was accepted, and what came out: two bytes an event, however many.

The id of an event says all that is needed when it comes out again: ``s17-4711`` is event 4711, of
record 17, whose events were sent one after the other; ``c17-4711`` is of one that was sent by
several at once, where only acceptance, which nobody outside can see, defines an order.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

SEQUENTIAL = "s"
CONCURRENT = "c"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one run.

    ``accepted`` were answered 200; ``delivered`` are distinct ids that came out, accepted or not;
    ``duplicates`` are copies beyond the first, except ``redelivered``, the ones that the queue
    itself gave out again; ``violations`` are first copies of accepted events out of order; ``lost``
    are accepted and did not come out; ``mixed`` came out with the body of another, or breaking the
    contract.
    """

    sent: int
    accepted: int
    delivered: int
    duplicates: int
    redelivered: int
    violations: int
    lost: int
    mixed: int

    @property
    def is_clean(self) -> bool:
        """Return whether the promise was kept."""
        return (self.lost, self.violations, self.mixed) == (0, 0, 0)


def parsed(message_id: str) -> tuple[str, int]:
    """Return the record and the number of an event; what the bridge added comes after a dot."""
    record, _, number = message_id.partition(".")[0].partition("-")
    return record, int(number)


class Ledger:
    """Keeps the counts; senders and consumers may be on different threads.

    Once ``order`` is a list, it takes the numbers of events as they come out for the first time.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accepted = bytearray()
        self._copies = bytearray()
        self._latest: dict[tuple[str, str], int] = {}
        self._missing = 0
        self._duplicates = 0
        self._redelivered = 0
        self._violations = 0
        self._mixed = 0
        self.accepted = 0
        self.order: list[int] | None = None
        self.examples: list[str] = []

    def __str__(self) -> str:
        """Show the counts, and examples of what is wrong."""
        return "\n".join([f"{self.counts()}", *self.examples, f"lost: {self.lost()}"])

    def issue(self, kind: str, record: int) -> tuple[str, int]:
        """Return the id and the number of the next event of a record."""
        with self._lock:
            number = len(self._accepted)
            self._accepted.append(0)
            self._copies.append(0)
        return f"{kind}{record}-{number}", number

    def accept(self, number: int) -> None:
        """Note that an event was answered 200, for the first time."""
        with self._lock:
            self._accepted[number] = 1
            self.accepted += 1
            self._missing += not self._copies[number]

    def deliver(self, queue: str, event_id: str, body: bytes, *, redelivered: bool) -> None:
        """Note that an event came out of a queue."""
        record, number = parsed(event_id)
        with self._lock:
            copies = self._copies[number]
            if not copies:
                self._missing -= self._accepted[number]
                self._note_first(queue, record, number, redelivered)
            elif redelivered:
                self._redelivered += 1
            else:
                self._duplicates += 1
            self._copies[number] = min(copies + 1, 255)
            if b'"changed_by_associate_id":%d,' % number not in body:
                self._mixed += 1
                self._remember(f"{event_id} has the body {body[:200]!r}")

    def reject(self, why: str) -> None:
        """Note that something came out that breaks the contract."""
        with self._lock:
            self._mixed += 1
            self._remember(why)

    def counts(self) -> Counts:
        """Return the counts so far."""
        with self._lock:
            return Counts(
                sent=len(self._accepted),
                accepted=self.accepted,
                delivered=len(self._copies) - self._copies.count(0),
                duplicates=self._duplicates,
                redelivered=self._redelivered,
                violations=self._violations,
                lost=self._missing,
                mixed=self._mixed,
            )

    def lost(self, most: int = 10) -> list[int]:
        """Return the numbers of events that were accepted and did not come out."""
        with self._lock:
            pairs = enumerate(zip(self._accepted, self._copies, strict=True))
            return [number for number, (yes, copies) in pairs if yes and not copies][:most]

    def _note_first(self, queue: str, record: str, number: int, redelivered: bool) -> None:
        if self.order is not None:
            self.order.append(number)
        latest = self._latest.get((queue, record), -1)
        # Whoever sent a later one knew by then what had become of this one. If it was given up, it
        # may have been in a socket of a bridge that was killed: nobody promised it a place.
        if record.startswith(SEQUENTIAL) and number < latest and self._accepted[number]:
            self._violations += 1
            how = ", redelivered" if redelivered else ""
            self._remember(f"in {queue}: {record}-{number} after {record}-{latest}{how}")
        self._latest[queue, record] = max(number, latest)

    def _remember(self, what: str) -> None:
        if len(self.examples) < 10:
            self.examples.append(what)
