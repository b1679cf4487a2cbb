"""What the spool's writer is asked to do, and what of it becomes one job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from bridge.disk.commits import Row
from bridge.disk.frames import Job
from bridge.spool.errors import SpoolFull

OPERATIONS_PER_COMMIT = 1024
"""Maximum number of operations in one transaction."""

APPENDED_BYTES = 4 * 1024 * 1024
"""Size of the rows that one commit stores, not counting the last: each is copied on its way."""

DELETED_BYTES = 16 * 1024 * 1024
"""Size of the rows that one commit deletes, not counting the last: new events wait for all of it.

After a time with a full disk the deletions that we owe can be too many for a quick commit.
"""


class Counted(Protocol):
    """The part of a row that a deletion needs."""

    @property
    def seq(self) -> int:
        """Return the row's number."""
        ...

    @property
    def size(self) -> int:
        """Return how many bytes of ``max_bytes`` the row takes."""
        ...


class Append(NamedTuple):
    """Store a row. ``on_written`` is called on the loop: with None, or why it is not stored."""

    seq: int
    size: int
    values: Row
    on_written: Callable[[SpoolFull | None], None]


class Delete(NamedTuple):
    """Delete a row; ``size`` is how many bytes of ``max_bytes`` it takes."""

    seq: int
    size: int = 0


class NoteTries(NamedTuple):
    """Remember how often a row was retried."""

    seq: int
    tries: int
    size: int = 0


Change = Delete | NoteTries

Operation = TypeVar("Operation", bound=Append | Delete | NoteTries)


def first_appends(appends: Sequence[Append]) -> Sequence[Append]:
    """Return as many of the first ones as one commit should do."""
    return _first(appends, size=APPENDED_BYTES)


def first_changes(changes: Sequence[Change]) -> Sequence[Change]:
    """Return as many of the first ones as one commit should do."""
    return _first(changes, size=DELETED_BYTES)


def _first(operations: Sequence[Operation], *, size: int) -> Sequence[Operation]:
    left = size
    for index, operation in enumerate(operations[:OPERATIONS_PER_COMMIT]):
        if left < 0:
            return operations[:index]
        left -= operation.size
    return operations[:OPERATIONS_PER_COMMIT]


class Order:
    """A job for the process that writes, and who waits for it. ``changes`` are owed until then."""

    __slots__ = ("appends", "changes", "job")

    def __init__(
        self, job: Job, appends: Sequence[Append] = (), changes: Sequence[Change] = ()
    ) -> None:
        self.job = job
        self.appends = appends
        self.changes = changes

    @classmethod
    def commit(cls, appends: Sequence[Append], changes: Sequence[Change]) -> Order:
        """Return the order for one transaction."""
        job = Job(
            "commit",
            rows=[append.values for append in appends],
            deleted=[change.seq for change in changes if isinstance(change, Delete)],
            tries=[(each.tries, each.seq) for each in changes if isinstance(each, NoteTries)],
        )
        return cls(job, appends, changes)

    @property
    def is_commit(self) -> bool:
        """Return whether it is a transaction, which must not be forgotten."""
        return self.job.name == "commit"

    def report(self, error: str, failed: Callable[[dict[str, object]], None]) -> None:
        """Tell all who wait for a row: "", or why it is not stored. ``failed`` takes errors."""
        refusal = SpoolFull(f"the disk does not take it: {error}") if error else None
        for append in self.appends:
            try:
                append.on_written(refusal)
            except Exception as failure:  # it does not stop the others
                failed({"message": "after a row was written", "exception": failure})

    def again(self) -> Order:
        """Return the same, for another process to do."""
        return Order(self.job._replace(is_repeat=True), self.appends, self.changes)

    @property
    def is_deadly(self) -> bool:
        """Return whether a process has died that had it."""
        return self.job.is_repeat

    @property
    def doubtful(self) -> list[Delete]:
        """Return what deletes its rows, if a process that has died may have stored them."""
        return [Delete(each.seq, each.size) for each in self.appends] if self.is_deadly else []
