"""Run a target of the Makefile on a bare Debian 13, which lives in a folder below var/."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.project.docs.documents import ROOT
from tests.system.debian.folder import Failed, Folder

PLACE = Path("var/debian13")

PASSED_ON = ("ARGS", "FAULTS", "WORKERS")
"""Variables of make that mean the same inside; make exports those of its command line."""


def main() -> None:
    """Make the folder if it is missing, then run the target in it and end as it did."""
    [target] = sys.argv[1:]
    if os.geteuid():
        raise Failed("this mounts file systems: run it as root, as in `sudo make test-rabbitmq4`")
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal's reaches those inside: they end
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    (ROOT / PLACE.parent).mkdir(exist_ok=True)
    with _alone(), _timed(f"make {target} in {PLACE}"):
        folder = Folder(ROOT / PLACE)
        if not folder.is_made:
            with _timed(f"installing Debian 13 into {PLACE}, once"):
                folder.make()
        folder.copy_project()
        environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        if status := folder.run(["make", target], **environ):
            _say(f"make {target} failed in {PLACE}; `make clean` removes that folder")
            sys.exit(status)
        _check_versions(folder)


def _check_versions(folder: Folder) -> None:
    versions = folder.versions("base-files", "python3", "rabbitmq-server")
    _say("this was " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if not versions["rabbitmq-server"].startswith("4."):
        raise Failed("that is not RabbitMQ 4")


@contextmanager
def _alone() -> Iterator[None]:
    with (ROOT / PLACE).with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another run is in {PLACE}: wait for its end, then repeat") from None
        yield


@contextmanager
def _timed(what: str) -> Iterator[None]:
    """Say what begins, and how long it took when it succeeded."""
    _say(f"{what} ...")
    started = time.monotonic()
    yield
    _say(f"{what}: {time.monotonic() - started:.0f} s")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
