"""The process that writes: ``python -m bridge.disk PATH SOCKET``, started by the bridge alone.

It does one job after the other from a socket pair, and ends when the other end is closed.
"""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import closing, suppress
from pathlib import Path

from bridge.disk.frames import READ_BYTES, Frames, Job, frame, merged
from bridge.disk.work import Disk

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Serve the bridge that has started us; return the exit status."""
    path, number = sys.argv[1:]
    _die_with_the_bridge()
    with socket.socket(fileno=int(number)) as connection:
        return serve(connection, Path(path))


def serve(connection: socket.socket, path: Path) -> int:
    """Do the jobs that come. Return 0 at their end; after an error, which is told, 1."""
    try:
        with closing(Disk(path)) as disk:
            connection.sendall(frame(("ready",)))
            _work(connection, disk)
    except Exception as error:
        with suppress(OSError):  # nobody is there to be told
            connection.sendall(frame(("failed", f"{type(error).__name__}: {error}")))
        return 1
    return 0


def _work(connection: socket.socket, disk: Disk) -> None:
    frames = Frames()
    while data := connection.recv(READ_BYTES):
        for job, count in merged([Job(*members) for members in frames.feed(data)]):
            connection.sendall(frame(disk.do(job)._replace(jobs=count)))


def _die_with_the_bridge() -> None:
    """Ask Linux to kill us when the bridge is gone, should we not get to see the end of the jobs.

    We hold the bridge's lock on the spool, so a process that somebody has stopped would keep the
    next bridge waiting.
    """
    with suppress(Exception):  # another system, or ctypes is not permitted
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
