"""A look at the spool's disk every second: are its files still there, and does it answer?

A process that has a file open does not notice that the file was removed, replaced or unmounted. But
everything it writes there is gone when it ends, so no event may be answered 200 for it.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog

from bridge.spool.files import Identity
from bridge.spool.store import Spool

_LOOK_SECONDS = 1.0

log = structlog.get_logger()


@contextmanager
def watching(spool: Spool, identity: Identity) -> Iterator[None]:
    """Look at the disk for the length of the block, and tell the spool and the log what is wrong.

    Two threads look, so that a disk that hangs blocks neither the event loop nor the other look.
    """
    ended = threading.Event()
    watches = (("spool-files", _Files(spool, identity, ended)), ("spool-disk", _Disk(spool)))
    threads = [
        threading.Thread(target=_look_again, args=(watch.look, ended), name=name, daemon=True)
        for name, watch in watches
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(_LOOK_SECONDS)  # a disk that hangs may keep the thread, but not the end


def _look_again(look: Callable[[], None], ended: threading.Event) -> None:
    """Look every second, whatever error a look raises."""
    told = ""
    while not ended.wait(_LOOK_SECONDS):
        try:
            look()
            told = ""
        except Exception as error:  # the disk is in trouble, and the writer will notice
            with suppress(Exception):  # no memory for the report, say
                why = f"{type(error).__name__}: {error}"
                if why != told:
                    log.warning("spool_unwatched", error=why)
                told = why


class _Files:
    """Tells the spool once if its files are not where they were."""

    def __init__(self, spool: Spool, identity: Identity, ended: threading.Event) -> None:
        self._spool = spool
        self._identity = identity
        self._ended = ended
        self._is_told = False

    def look(self) -> None:
        """Compare the files with those that were opened."""
        wrong = "" if self._is_told else self._identity.what_is_wrong()
        if wrong and not self._ended.is_set():  # closing the database removes the log, too
            self._spool.note_gone(wrong)
            self._is_told = True
        elif not self._is_told and self._identity.is_overwritten():
            self._spool.note_error(sqlite3.DatabaseError("its file was emptied or overwritten"))


class _Disk:
    """Logs once that the disk hangs, and once that it answers again, without using the disk."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._hung = False

    def look(self) -> None:
        """Ask the spool how its commits fare."""
        was, self._hung = self._hung, self._spool.is_slow
        if self._hung and not was:
            log.error("spool_disk_hangs")
        elif was and not self._hung:
            log.warning("spool_disk_answers")
