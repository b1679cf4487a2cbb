"""The process that writes to the spool: how it is found, and what stands in for it."""

import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

from bridge.disk import __main__ as program


class WritingThread:
    """Does the same on a thread, where a test can change how."""

    def __init__(self, path, connection, lock):
        connection = connection.dup()
        self._status = 0

        def run():
            with connection:
                self._status = program.serve(connection, path)

        self._thread = threading.Thread(target=run, name="writing", daemon=True)
        self._thread.start()

    def wait(self):
        """Return its status when it has ended."""
        self._thread.join()
        return self._status

    def kill(self):
        """Let it be: it ends by itself."""


def writing_process(pid: int) -> int | None:
    """Return the id of the process that writes for a bridge, None if there is none."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            if b"bridge.disk" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                return int(child)
    return None


@contextmanager
def frozen(pid):
    """Stop a process for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
