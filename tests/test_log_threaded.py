"""The log of a service is written by a thread: whatever happens to that, who logs goes on."""

import json
import os
import sys
import threading
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TextIO, cast

import pytest
import structlog

from bridge import log
from tests.helpers import eventually

LONG = 20_000
"""More than a pipe takes at once: without care, such lines of two writers mix."""


@pytest.fixture
def piped(monkeypatch):
    """Return what makes one pipe both standard streams, as ``2>&1`` does, and logs to it."""

    @contextmanager
    def as_both():
        reading, writing = os.pipe()
        known = list(log._threaded_streams)
        with (
            monkeypatch.context() as patch,
            os.fdopen(reading) as pipe,
            os.fdopen(os.dup(writing), "w") as output,
            os.fdopen(writing, "w") as errors,
        ):
            patch.setattr(sys, "stderr", errors)
            log.configure(level="info", format="json", stream=output, waits=False)
            yield pipe, log._threaded_streams[len(known)]
            log.wait()
            log._threaded_streams[:] = known

    return as_both


def in_time(work):
    """Do something that may never return on a thread; fail if it does not."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_two_streams_of_one_file(piped):
    """Lines of the log and lines of the standard error stream do not mix, however long."""

    def say(letter, stream):
        for _ in range(20):
            stream.write(letter * LONG)  # as print does: the text, and then its end
            stream.write("\n")

    with piped() as (pipe, beside):
        streams = zip("ab", (beside, sys.stderr), strict=True)
        both = [threading.Thread(target=say, args=each) for each in streams]
        for thread in both:
            thread.start()
        lines = [pipe.readline() for _ in range(40)]
        for thread in both:
            thread.join()

    assert [20, 20] == [lines.count(letter * LONG + "\n") for letter in "ab"]


async def test_its_thread_goes_on(piped, monkeypatch):
    """A line that could not be written is counted, and the next ones are written."""
    logger, write = structlog.get_logger(), log._write

    def fail(*arguments):
        monkeypatch.setattr(log, "_write", write)
        raise MemoryError

    with piped() as (pipe, _):
        monkeypatch.setattr(log, "_write", fail)
        logger.info("lost")
        await eventually(lambda: log._write is write)
        logger.info("written")
        found = [pipe.readline(), pipe.readline()]

    assert '"action":"written"' in found[0]
    assert '"action":"log_lines_dropped","lines":1' in found[1]


def test_a_finalizer_logs_in_the_middle_of_a_line(piped, monkeypatch):
    """The collector may run wherever a line is written, and what it finalizes may log."""
    logger = structlog.get_logger()
    with piped() as (pipe, beside):
        lines, finalizes = beside._lines, iter([lambda: logger.info("inner")])

        def put(line):
            for finalize in finalizes:
                finalize()
            lines.put(line)

        monkeypatch.setattr(beside, "_lines", SimpleNamespace(put=put, get=lines.get))
        in_time(lambda: logger.info("outer"))
        found = [pipe.readline(), pipe.readline()]

    assert ["inner", "outer"] == [json.loads(line)["action"] for line in found]


def test_a_finalizer_logs_in_the_middle_of_a_record():
    """The same holds for who logs to a stream that it waits for."""

    class Stream:
        def __init__(self):
            self.lines = []

        def write(self, text):
            self.lines.append(text)
            if len(self.lines) == 1:
                logger.info("inner")

        def flush(self):
            pass

    stream = Stream()
    log.configure(level="info", format="console", stream=cast("TextIO", stream))
    logger = structlog.get_logger()
    in_time(lambda: logger.info("outer"))

    assert [True, True] == ["outer" in stream.lines[0], "inner" in stream.lines[1]]
