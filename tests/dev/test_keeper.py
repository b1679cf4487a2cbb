"""The guardian of a node, with processes that start faster than RabbitMQ."""

import os
import signal
from pathlib import Path

import pytest

from bridge.dev.keeper import Guardian
from tests.dev.conftest import owner, processes_of, wait_until

OWNER = """
import os, signal, sys
from pathlib import Path
from bridge.dev.keeper import Guardian

parent = Path(sys.stdin.readline().strip())
guardian = Guardian(parent)
directory = guardian.ask("directory")
guardian.ask("run", ["sleep", "600"], {"HOME": directory, "PATH": os.defpath})
if os.fork():
    print(directory, flush=True)
signal.pause()
"""

# A process, a child of it, and a grandchild in a session of its own whose parent has ended.
FAMILY = ["sh", "-c", "sleep 601 & (setsid sleep 602 &) ; exec sleep 600"]


@pytest.fixture
def guardian(home):
    """Keep a directory inside ``home`` and end the guardian afterwards."""
    guardian = Guardian(home)
    yield guardian
    guardian.close()


@pytest.fixture
def family(guardian):
    """Start a process with descendants and return its directory once all three are there."""
    directory = Path(guardian.ask("directory"))
    guardian.ask("run", FAMILY, {"HOME": str(directory), "PATH": os.defpath})
    wait_until(lambda: len(sleepers(directory)) == 3)
    return directory


def sleepers(directory):
    """Return the pids of the programs ``sleep`` that have the directory as their home."""
    return {pid for pid in processes_of(directory) if command_line(pid)[0] == "sleep"}


def command_line(pid):
    """Return the arguments of a process, an empty one if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return [""]


def state(pid):
    """Return the state of a process: S sleeping, T stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_kill_reaches_every_descendant(guardian, family):
    """After kill neither a child nor a daemon of the process is left, and the directory stays."""
    guardian.ask("kill")

    assert set() == processes_of(family)
    assert not guardian.ask("running")
    assert family.is_dir()


def test_close_ends_everything(guardian, family):
    """After close there is no process and no directory; a second close does nothing."""
    guardian.close()
    guardian.close()

    assert set() == processes_of(family.parent)
    assert not family.exists()
    with pytest.raises(ConnectionError, match="stopped"):
        guardian.ask("running")


def test_frozen_process_stands_still_until_thawed(guardian, family):
    """Freeze and thaw, each also twice, stop the process and let it go on."""
    (pid,) = (pid for pid in sleepers(family) if "600" in command_line(pid))

    guardian.ask("freeze")
    guardian.ask("freeze")
    assert "T" == state(pid)

    guardian.ask("thaw")
    guardian.ask("thaw")
    wait_until(lambda: state(pid) == "S")


def test_frozen_process_can_be_killed(guardian, family):
    """Freezing does not protect from kill, and there is nothing to freeze afterwards."""
    guardian.ask("freeze")
    guardian.ask("kill")

    assert set() == processes_of(family)
    with pytest.raises(OSError, match="not running"):
        guardian.ask("freeze")


def test_running_notices_the_end(guardian):
    """A process that ended by itself is not running; its output is in the log."""
    directory = Path(guardian.ask("directory"))
    guardian.ask("run", ["echo", "last words"], {"PATH": os.defpath})

    wait_until(lambda: not guardian.ask("running"))
    assert "last words\n" == (directory / "server.log").read_text()


def test_unknown_program_and_request_are_errors(guardian):
    """What cannot be done is answered with its reason, and the guardian goes on."""
    with pytest.raises(OSError, match="no-such-program"):
        guardian.ask("run", ["no-such-program"], {"PATH": os.defpath})
    with pytest.raises(OSError, match="unknown request 'dance'"):
        guardian.ask("dance")
    assert not guardian.ask("running")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_guardian_survives_signals(guardian, family, number):
    """A signal that ends programs ends neither the guardian nor what it keeps."""
    (keeper,) = processes_of(family.parent) - processes_of(family)
    os.kill(keeper, number)

    assert guardian.ask("running")
    assert 3 == len(sleepers(family))


def test_children_die_with_a_killed_guardian(guardian, family):
    """Even when the guardian itself is killed, the process it started does not go on."""
    (keeper,) = processes_of(family.parent) - processes_of(family)
    (pid,) = (pid for pid in sleepers(family) if "600" in command_line(pid))
    os.kill(keeper, signal.SIGKILL)

    wait_until(lambda: pid not in sleepers(family))
    with pytest.raises(ConnectionError):
        guardian.ask("running")
    for orphan in sleepers(family):
        os.kill(orphan, signal.SIGKILL)
    wait_until(lambda: not processes_of(family))
    for path in (family / "server.log", family):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_owner(home, number):
    """A killed owner takes everything along, also while its fork holds the socket open."""
    with owner(OWNER, home) as process:
        assert 1 == len(list(home.iterdir()))
        process.send_signal(number)
        process.wait()

        wait_until(lambda: not processes_of(home) and not list(home.iterdir()))
