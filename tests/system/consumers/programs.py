"""How each consumer is started, and whether this machine can."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "docs" / "consumers"
BUILT = ROOT / "var" / "consumers"
"""Where ``.ci/consumers`` installs what it installs."""

PATIENCE = 60.0
"""Seconds until a condition counts as never met: many times what it takes on a busy machine."""

SLOW = """
    CREATE VIEW work AS WITH RECURSIVE step(n) AS (
        SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < 20000) SELECT n FROM step;
    CREATE TRIGGER slow BEFORE INSERT ON erasure_task BEGIN SELECT count(*) FROM work; END;
"""
"""Makes each event take some milliseconds within its transaction."""

POISON = """
    CREATE TRIGGER poison BEFORE INSERT ON erasure_task WHEN NEW.contact_id % 50 = 0
    BEGIN SELECT RAISE(ABORT, 'poison'); END;
"""
"""Makes one of fifty contacts in a row fail, again and again."""

FAULT = """
    CREATE TRIGGER fault BEFORE INSERT ON erasure_task
    BEGIN SELECT RAISE(ABORT, 'fault'); END;
"""
"""Makes every event fail."""


@dataclass(frozen=True)
class Program:
    """A consumer by the name of its folder, the tool that it needs, and its command."""

    name: str
    tool: str
    command: tuple[str, ...]

    @property
    def is_runnable(self) -> bool:
        """Return whether the tool is on this machine."""
        return shutil.which(self.tool) is not None


def _python(name: str) -> Program:
    python, source = BUILT / name / "bin" / "python", SOURCES / name / "consumer.py"
    return Program(name, "python3", (f"{python}", "-W", "error", f"{source}"))


def _java(name: str) -> Program:
    target = SOURCES / name / "target"
    return Program(name, "mvn", ("java", "-cp", f"{target}/classes:{target}/lib/*", "Consumer"))


PROGRAMS = (
    _python("python-aio-pika"),
    _python("python-faststream"),
    Program("node-amqplib", "npm", ("node", f"{SOURCES}/node-amqplib/consumer.mjs")),
    Program("go-amqp091", "go", (f"{BUILT}/go-amqp091/consumer",)),
    _java("java-rabbitmq"),
)
DEAD_LETTERS = (PROGRAMS[0].command[0], f"{SOURCES}/python-aio-pika/dead_letters.py")
"""The tool that moves dead letters back; of any of them, whose queues have the same names."""

NOT_RUN = ("csharp-rabbitmq",)
"""Consumers that no machine of ours has the tools for."""


class Consumer:
    """A consumer in a process of its own, and the database that it keeps."""

    def __init__(self, program: Program, url: str, database: Path) -> None:
        self.name = program.name
        self._program = program
        self._environ = {**os.environ, "AMQP_URL": url, "DATABASE": f"{database}"}
        self._database = database
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # close() does
        self._process: subprocess.Popen[bytes] | None = None

    def __str__(self) -> str:
        """Return what it has printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """Return the process; there must be one."""
        assert self._process is not None
        return self._process

    def start(self) -> None:
        """Start it, again after it has ended."""
        assert self._process is None or self._process.poll() is not None
        self._process = subprocess.Popen(
            self._program.command,
            cwd=self._database.parent,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Stop it with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """End it in any case."""
        if self._process is not None:
            self.kill()
        self._log.close()

    def spoil(self, script: str) -> None:
        """Change its database so that its work is slow, or fails."""
        with closing(self._connected()) as database:
            database.executescript(script)

    def cure(self, trigger: str) -> None:
        """Let the work go well again."""
        self.spoil(f"DROP TRIGGER {trigger};")

    @contextmanager
    def held_up(self) -> Iterator[None]:
        """Lock its database for the length of the block: its next transaction waits."""
        with closing(sqlite3.connect(self._database, timeout=0, isolation_level=None)) as database:
            until(lambda: _locks(database), "the database is locked", pause=0)
            yield
            database.rollback()

    def handled(self) -> set[str]:
        """Return the ids of the messages that it has handled."""
        return {str(message_id) for (message_id,) in self._rows("message_id FROM handled_event")}

    def handled_in_order(self) -> list[str]:
        """Return the ids of the messages that it has handled, the first one first."""
        rows = self._rows("message_id FROM handled_event ORDER BY rowid")
        return [str(message_id) for (message_id,) in rows]

    def effects(self) -> list[int]:
        """Return the contacts of its tasks: one for every event that had its effect."""
        return sorted(int(contact) for (contact,) in self._rows("contact_id FROM erasure_task"))

    def half_done(self) -> int:
        """Return how many ids more than effects there are, at one moment."""
        [(count,)] = self._rows(
            "(SELECT count(*) FROM handled_event) - (SELECT count(*) FROM erasure_task)"
        )
        return int(count)

    def _rows(self, what: str) -> list[tuple[str | int]]:
        with closing(self._connected()) as database:
            return database.execute(f"SELECT {what}").fetchall()

    def _connected(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=PATIENCE, isolation_level=None)


def _locks(database: sqlite3.Connection) -> bool:
    """Try to lock a database, without waiting: who waits politely comes last."""
    with suppress(sqlite3.OperationalError):
        database.execute("BEGIN IMMEDIATE")
        return True
    return False


def until(
    condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE, pause: float = 0.01
) -> None:
    """Return when the condition holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(pause)
