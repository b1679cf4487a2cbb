"""A directory to run commands in, and a running ``bridge dev`` that they find there."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli.app import app
from tests.helpers import add_vhost

ROOT = Path(__file__).parents[2]


def invoke(*args, env=None):
    """Run a command in this process; the result has exit_code, stdout and stderr."""
    return CliRunner().invoke(app, [str(arg) for arg in args], env=env)


def environment(**variables):
    """Return the environment of a command in a process of its own; ports are any free ones."""
    free = {"BRIDGE_SERVER__PORT": "0", "BRIDGE_SERVER__ADMIN_PORT": "0"}
    return {**os.environ, **free, "PYTHONPATH": str(ROOT), **variables}


class Command:
    """A command in a process of its own, whose output is read line by line."""

    def __init__(self, *args, cwd, stdin=subprocess.DEVNULL, program=("-m", "bridge"), **variables):
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", *program, *args],
            cwd=cwd,
            env=environment(**variables),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self.stdout, self.stderr = self.process.stdout, self.process.stderr
        self.pid = self.process.pid
        self.lines = []

    def read_until(self, *starts):
        """Read lines until one starts so, and return it."""
        for line in self.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(starts):
                return self.lines[-1]
        raise AssertionError(f"{self.lines}, then the end; stderr: {self.stderr.read()}")

    def end(self, number=signal.SIGTERM):
        """Signal the process, read the rest of its output and return (code, stderr)."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """Read the rest of the output and return (code, stderr)."""
        out, err = self.process.communicate(timeout=30)
        self.lines += out.splitlines()
        return self.process.returncode, err


@contextmanager
def running(*args, cwd, **variables):
    """Run a command for the length of the block; kill it if the test did not end it."""
    command = Command(*args, cwd=cwd, **variables)
    try:
        yield command
    finally:
        if command.process.poll() is None:
            command.process.kill()
        command.process.communicate()


def close_listeners(node):
    """Have the broker close the connections of our consumers in its default virtual host."""
    node.evaluate(
        'Named = {<<"connection_name">>, longstr, <<"superoffice-bridge listen">>},'
        '[rabbit_networking:close_connection(Pid, "closed by a test")'
        " || Pid <- rabbit_networking:connections(),"
        ' [{vhost, <<"/">>}, {client_properties, Properties}]'
        " <- [rabbit_reader:info(Pid, [vhost, client_properties])],"
        " lists:member(Named, Properties)].",
    )


def family(pid):
    """Return the pids of a process and of all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def alive(pids):
    """Return those of the processes that have not ended."""
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    """Pretend an ordinary terminal, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Make an empty directory the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def vhost(node):
    """Return the URL of a virtual host that no other test touches."""
    add_vhost(node, "cli")
    return f"{node.url}cli"


@pytest.fixture(scope="session")
def dev_directory(vhost, tmp_path_factory):
    """Run ``bridge dev`` and return the directory in which commands find it."""
    path = tmp_path_factory.mktemp("dev")
    with running("dev", cwd=path, BRIDGE_BROKER__URLS=vhost) as command:
        command.read_until("ready")
        reader = threading.Thread(target=list, args=(command.stdout,))
        reader.start()
        yield path
        command.process.terminate()
        reader.join()


@pytest.fixture
def dev(dev_directory, monkeypatch):
    """Work in the directory of a running ``bridge dev``; return what var/dev.json says."""
    monkeypatch.chdir(dev_directory)
    return json.loads((dev_directory / "var" / "dev.json").read_text())
