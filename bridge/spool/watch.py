"""A look at the spool's disk every second: whether its files are there, and whether it answers.

An open file that was removed, replaced or unmounted is as good as before for its process, and gone
with its end. Nothing that is written there may be answered 200.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.spool.files import Identity
from bridge.spool.store import Spool

_LOOK_SECONDS = 1.0

log = structlog.get_logger()


@contextmanager
def watching(spool: Spool, identity: Identity) -> Iterator[None]:
    """Look at the files for the length of the block, and tell the spool and the log what is wrong.

    A look takes as long as the disk takes to answer: it stands in nobody's way.
    """
    ended = threading.Event()
    threads = [
        threading.Thread(target=look, args=(spool, identity, ended), name=name, daemon=True)
        for name, look in (("spool-files", _look_at_files), ("spool-disk", _look_at_disk))
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(_LOOK_SECONDS)  # a disk that hangs keeps it, and nobody else


def _look_at_files(spool: Spool, identity: Identity, ended: threading.Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        try:
            wrong = identity.what_is_wrong()
        except Exception as error:  # the disk is in trouble, which its writer notices
            log.warning("spool_unwatched", error=f"{type(error).__name__}: {error}")
            continue
        if wrong and not ended.is_set():
            spool.note_gone(wrong)
            return


def _look_at_disk(spool: Spool, _: Identity, ended: threading.Event) -> None:
    """Say once that the disk hangs, and once that it answers again; needs nothing of it itself."""
    hung = False
    while not ended.wait(_LOOK_SECONDS):
        if spool.is_slow and not hung:
            log.error("spool_disk_hangs")
        elif hung and not spool.is_slow:
            log.warning("spool_disk_answers")
        hung = spool.is_slow
