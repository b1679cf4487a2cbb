"""Events on disk: accepted, fsynced, and not yet confirmed by the broker.

The spool is an SQLite database in WAL mode with ``synchronous=FULL``: a commit returns after its
fsync. One process writes, and puts everything that came in while it was busy into one transaction,
so no event waits for a timer. The event loop counts the rows that it adds and deletes; it never
asks the database how many there are.
"""

from bridge.spool.errors import (
    SpoolDamaged,
    SpoolFull,
    SpoolHung,
    SpoolLocked,
    SpoolUnavailable,
    SpoolUnusable,
)
from bridge.spool.inspection import Totals, rows, totals
from bridge.spool.opening import opened
from bridge.spool.rowcodec import Row, record_key
from bridge.spool.store import OnWritten, Spool

__all__ = [
    "OnWritten",
    "Row",
    "Spool",
    "SpoolDamaged",
    "SpoolFull",
    "SpoolHung",
    "SpoolLocked",
    "SpoolUnavailable",
    "SpoolUnusable",
    "Totals",
    "opened",
    "record_key",
    "rows",
    "totals",
]
