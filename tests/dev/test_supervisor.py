"""The supervisor of a node, with processes that start faster than RabbitMQ."""

import os
import signal
from pathlib import Path

import pytest

from bridge.dev.supervisor import SupervisorProcess
from tests.dev.conftest import owner, processes_of, wait_until

OWNER = """
import os, signal, sys
from pathlib import Path
from bridge.dev.supervisor import SupervisorProcess

parent = Path(sys.stdin.readline().strip())
supervisor = SupervisorProcess(parent)
directory = supervisor.call("directory")
supervisor.call("run", ["sleep", "600"], {"HOME": directory, "PATH": os.defpath})
if os.fork():
    print(directory, flush=True)
signal.pause()
"""

# A process, a child of it, and a grandchild in a session of its own whose parent has ended.
PROCESS_TREE = ["sh", "-c", "sleep 601 & (setsid sleep 602 &) ; exec sleep 600"]


@pytest.fixture
def supervisor(home):
    """Keep a directory inside ``home`` and end the supervisor afterwards."""
    supervisor = SupervisorProcess(home)
    yield supervisor
    supervisor.close()


@pytest.fixture
def tree(supervisor):
    """Start a process with descendants and return its directory once all three are there."""
    directory = Path(supervisor.call("directory"))
    supervisor.call("run", PROCESS_TREE, {"HOME": str(directory), "PATH": os.defpath})
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


def test_kill_reaches_every_descendant(supervisor, tree):
    """After kill neither a child nor a daemon of the process is left, and the directory stays."""
    supervisor.call("kill")

    assert set() == processes_of(tree)
    assert not supervisor.call("running")
    assert tree.is_dir()


def test_close_ends_everything(supervisor, tree):
    """After close there is no process and no directory; a second close does nothing."""
    supervisor.close()
    supervisor.close()

    assert set() == processes_of(tree.parent)
    assert not tree.exists()
    with pytest.raises(ConnectionError, match="stopped"):
        supervisor.call("running")


def test_frozen_process_stands_still_until_thawed(supervisor, tree):
    """Freeze and thaw, each also twice, stop the process and let it go on."""
    (pid,) = (pid for pid in sleepers(tree) if "600" in command_line(pid))

    supervisor.call("freeze")
    supervisor.call("freeze")
    assert "T" == state(pid)

    supervisor.call("thaw")
    supervisor.call("thaw")
    wait_until(lambda: state(pid) == "S")


def test_frozen_process_can_be_killed(supervisor, tree):
    """Freezing does not protect from kill, and there is nothing to freeze afterwards."""
    supervisor.call("freeze")
    supervisor.call("kill")

    assert set() == processes_of(tree)
    with pytest.raises(OSError, match="not running"):
        supervisor.call("freeze")


def test_running_notices_the_end(supervisor):
    """A process that ended by itself is not running; its output is in the log."""
    directory = Path(supervisor.call("directory"))
    supervisor.call("run", ["echo", "last words"], {"PATH": os.defpath})

    wait_until(lambda: not supervisor.call("running"))
    assert "last words\n" == (directory / "server.log").read_text()


def test_unknown_program_and_request_are_errors(supervisor):
    """What cannot be done is answered with its reason, and the supervisor goes on."""
    with pytest.raises(OSError, match="no-such-program"):
        supervisor.call("run", ["no-such-program"], {"PATH": os.defpath})
    with pytest.raises(OSError, match="unknown request 'dance'"):
        supervisor.call("dance")
    assert not supervisor.call("running")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_supervisor_survives_signals(supervisor, tree, number):
    """A signal that ends programs ends neither the supervisor nor its children."""
    (pid_of_supervisor,) = processes_of(tree.parent) - processes_of(tree)
    os.kill(pid_of_supervisor, number)

    assert supervisor.call("running")
    assert 3 == len(sleepers(tree))


def test_children_die_with_a_killed_supervisor(supervisor, tree):
    """Even when the supervisor itself is killed, the process it started does not go on."""
    (pid_of_supervisor,) = processes_of(tree.parent) - processes_of(tree)
    (pid,) = (pid for pid in sleepers(tree) if "600" in command_line(pid))
    os.kill(pid_of_supervisor, signal.SIGKILL)

    wait_until(lambda: pid not in sleepers(tree))
    with pytest.raises(ConnectionError):
        supervisor.call("running")
    for orphan in sleepers(tree):
        os.kill(orphan, signal.SIGKILL)
    wait_until(lambda: not processes_of(tree))
    for path in (tree / "server.log", tree):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_a_killed_owner(home, number):
    """A killed owner takes everything along, also while its fork holds the socket open."""
    with owner(OWNER, home) as process:
        assert 1 == len(list(home.iterdir()))
        process.send_signal(number)
        process.wait()

        wait_until(lambda: not processes_of(home) and not list(home.iterdir()))
