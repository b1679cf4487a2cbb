"""A look at the spool's files every second: a file that is gone still takes everything.

An open file that was removed, replaced or unmounted is as good as before for its process, and gone
with its end. Nothing that is written there may be answered 200.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from bridge.spool.files import Identity

_LOOK_SECONDS = 1.0

log = structlog.get_logger()


@contextmanager
def watching(identity: Identity, *, gone: Callable[[str], None]) -> Iterator[None]:
    """Look at the files for the length of the block; tell ``gone``, on a thread, what is wrong.

    A look takes as long as the disk takes to answer: it stands in nobody's way.
    """
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            try:
                wrong = identity.what_is_wrong()
            except OSError as error:  # the disk is in trouble, which its writer notices
                log.warning("spool_unwatched", error=str(error))
                continue
            if wrong and not ended.is_set():
                gone(wrong)
                return

    thread = threading.Thread(target=look, name="spool-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_LOOK_SECONDS)  # a disk that hangs keeps it, and nobody else
