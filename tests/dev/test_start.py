"""How a node starts, or says why it cannot, and that nothing of it is left behind."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bridge.dev import rabbitmq
from bridge.dev.rabbitmq import (
    RabbitMQFailed,
    RabbitMQNode,
    RabbitMQNotInstalled,
    find_installation,
    free_port,
)
from tests.dev.conftest import ROOT, owner, processes_of, wait_until

OWNER = """
import os, signal, sys
from pathlib import Path
from bridge.dev.rabbitmq import RabbitMQNode

with RabbitMQNode.start(Path(sys.stdin.readline().strip())) as node:
    if os.fork():
        print(node.version, flush=True)
    signal.pause()
"""


def test_stop_leaves_nothing(home):
    """After stop there is no process, epmd included, and no directory; stop again is harmless."""
    with RabbitMQNode.start(home, config={"heartbeat": "7"}) as node:
        assert 3 <= len(processes_of(home))
        assert node.directory.parent == home
        assert "{ok,7}" == node.evaluate("application:get_env(rabbit, heartbeat).").replace(" ", "")
        node.freeze()

    assert set() == processes_of(home)
    assert not node.directory.exists()
    node.stop()
    with pytest.raises(RabbitMQFailed, match="stopped"):
        node.restart()


def test_nothing_outlives_a_killed_owner(home):
    """kill -9 of the owner ends the node, also while a fork of the owner lives on."""
    with owner(OWNER, home) as process:
        assert 3 <= len(processes_of(home))
        process.kill()
        process.wait()

        wait_until(lambda: not processes_of(home) and not list(home.iterdir()))


@pytest.fixture
def writable_by_nobody():
    """Return a directory that nobody owns: pytest's own are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="nobody-"))
    os.chown(directory, pwd.getpwnam("nobody").pw_uid, -1)
    yield directory
    directory.rmdir()


def python_of(user):
    """Return an interpreter that the user can run, with the package importable."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        try:
            subprocess.run(
                [candidate, "-c", "import bridge.dev.rabbitmq"],
                cwd=ROOT,
                user=user,
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"no Python 3.11 or newer that {user} can run")


@pytest.mark.skipif(os.getuid() != 0, reason="not root: all other tests run as an ordinary user")
def test_ordinary_user_can_start_a_node(writable_by_nobody):
    """No root is needed: neither for the server nor for rabbitmqctl."""
    script = (
        "import sys; from pathlib import Path; from bridge.dev.rabbitmq import RabbitMQNode\n"
        "with RabbitMQNode.start(Path(sys.argv[1])) as node: print(node.ctl('eval', 'node().'))"
    )
    done = subprocess.run(
        [python_of("nobody"), "-c", script, str(writable_by_nobody)],
        cwd=ROOT,
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
        capture_output=True,
        text=True,
    )

    assert "" == done.stderr
    assert done.stdout.startswith("'bridge-")


def test_lost_port_is_replaced(home, monkeypatch):
    """When another program listens on a port that was chosen, the node starts with new ones."""
    reserve = rabbitmq.reserve_port
    reserved: list[socket.socket] = []

    def reserve_and_lose_the_second():
        reserved.append(reserve())
        if len(reserved) == 2:
            reserved[1].listen()
        return reserved[-1]

    monkeypatch.setattr(rabbitmq, "reserve_port", reserve_and_lose_the_second)
    with RabbitMQNode.start(home) as node:
        assert reserved[3].getsockname()[1] == node.port


def test_failed_start_shows_the_cause(home):
    """A server that refuses its configuration says so in the error, and leaves nothing."""
    with pytest.raises(RabbitMQFailed, match="no_such_key"):
        RabbitMQNode.start(home, config={"no_such_key": "1"})


def test_unwritable_directory_is_named(home):
    """A directory that does not exist is named in the error."""
    with pytest.raises(RabbitMQFailed, match="absent: not a directory"):
        RabbitMQNode.start(home / "absent")


def test_missing_server_names_the_package(home, monkeypatch):
    """Without RabbitMQ the error says how to install it."""
    monkeypatch.setattr(rabbitmq, "DEBIAN_SERVER", str(home / "rabbitmq-server"))
    monkeypatch.setenv("PATH", str(home))

    with pytest.raises(RabbitMQNotInstalled, match="apt-get install rabbitmq-server"):
        RabbitMQNode.start(home)


def test_server_on_the_path_is_found(home, monkeypatch):
    """A server that is not Debian's is found by its script on the PATH."""
    for part in ("sbin", "escript", "plugins"):
        (home / "server" / part).mkdir(parents=True)
    script = home / "server" / "sbin" / "rabbitmq-server"
    script.touch(mode=0o755)
    monkeypatch.setattr(rabbitmq, "DEBIAN_SERVER", str(home / "absent"))
    monkeypatch.setenv("PATH", str(script.parent))

    assert home / "server" == find_installation()
    shutil.rmtree(home / "server")


def test_free_port_is_free():
    """The port can be bound at once, by a server that does not reuse addresses."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
