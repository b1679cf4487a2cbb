"""Events on disk: accepted, fsynced, and not yet confirmed by the broker.

SQLite in WAL mode with ``synchronous=FULL``: a commit returns after its fsync. One thread writes;
whatever came in while it was busy goes into the next transaction, so nobody waits for a timer. The
event loop counts what it hands over and what is deleted, and never asks the database how much.
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
