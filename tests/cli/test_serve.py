"""bridge serve, as a process of its own."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from functools import partial

import pytest

from tests.cli.conftest import alive, environment, family, invoke, running
from tests.system.faults.process import reserve_port

SECRET = {"SUPEROFFICE_SECRET": "x"}
NO_BROKER = {"BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}


def actions(command):
    """Return the actions of all records that were logged."""
    return [json.loads(line)["action"] for line in command.lines]


def until_started(command):
    """Read the log until the service has started."""
    while '"service_started"' not in command.read_until('{"timestamp"'):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_without_a_broker_until_a_signal(directory, number):
    """It starts and logs JSON to standard output, and each signal ends it with 0."""
    with running("serve", cwd=directory, **SECRET, **NO_BROKER) as command:
        until_started(command)
        pids = family(command.pid)
        command.process.send_signal(number)

        assert (0, "") == command.end(number)
        assert "service_stopped" == actions(command)[-1]
        assert not alive(pids)


def test_it_ends_before_it_is_loaded(directory):
    """Told to stop while its libraries are loaded, which takes long on a busy machine, it does."""
    (directory / "uvloop.py").write_text(
        "print('loading', flush=True)\nimport sys\nsys.stdin.read()"
    )
    with running("serve", cwd=directory, stdin=subprocess.PIPE, **SECRET, **NO_BROKER) as command:
        command.read_until("loading")

        assert (0, "") == command.end()
        assert ["loading"] == command.lines


def test_it_ends_while_it_waits_for_the_spool(directory):
    """It does not wait until another process lets go of it."""
    with (directory / "spool.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        spool = {"BRIDGE_SPOOL__PATH": "spool.db", "BRIDGE_SERVER__SHUTDOWN_GRACE_SECONDS": "300"}
        with running("serve", cwd=directory, **SECRET, **NO_BROKER, **spool) as command:
            while '"spool_locked"' not in command.read_until('{"timestamp"'):
                pass

            assert (0, "") == command.end()


def test_it_ends_while_a_disk_hangs(directory):
    """A file of the configuration that is never read to its end does not keep it from its own."""
    (directory / "config").mkdir()
    config = directory / "config" / "bridge.toml"
    config.touch()
    with running("serve", cwd=directory, **SECRET, **NO_BROKER) as command:
        until_started(command)
        os.mkfifo(directory / "hangs")
        (directory / "hangs").replace(config)
        command.process.send_signal(signal.SIGHUP)
        with config.open("w"):  # returns when it has begun to read
            assert (0, "") == command.end()
            assert "service_stopped" == actions(command)[-1]


@pytest.mark.parametrize(
    ("file", "variables"),
    [
        ("config/bridge.toml", SECRET),
        ("secret", {"SUPEROFFICE_SECRET_FILE": "secret"}),
        ("ca.pem", {**SECRET, "BRIDGE_BROKER__CA_FILE": "ca.pem"}),
        ("server.pem", {**SECRET, "BRIDGE_SERVER__TLS_CERTIFICATE": "server.pem"}),
    ],
)
def test_a_start_that_waits_for_a_file(directory, file, variables):
    """It says for which one, and ends with 75 when it is told to stop: it has never begun."""
    (directory / "config").mkdir()
    os.mkfifo(directory / file)
    with running("serve", cwd=directory, **variables, **NO_BROKER) as command:
        said = command.stderr.readline()
        code, _ = command.end()

    assert f"warning: {file} has not been read for 1 s: waiting\n" == said
    assert 75 == code


@pytest.mark.parametrize("option", [["--config", "mine.toml"], ["--config=mine.toml"]])
def test_a_configuration_of_its_own(directory, option):
    """It is named in either way, and each mistake in it is told."""
    (directory / "mine.toml").write_text("[server]\nprot = 1\n")
    with running("serve", *option, cwd=directory, **SECRET, **NO_BROKER) as command:
        code, stderr = command.wait()

    assert (78, []) == (code, command.lines)
    assert stderr.startswith("error: mine.toml: server.prot: ")


def test_it_tells_systemd_when_it_is_ready(directory):
    """With Type=notify a start has ended when the bridge listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as news:
        news.bind(f"{directory / 'news'}")
        news.settimeout(30)
        env = {**SECRET, **NO_BROKER, "NOTIFY_SOCKET": "news"}
        with running("serve", cwd=directory, **env) as command:
            assert b"READY=1" == news.recv(100)
            until_started(command)
            assert (0, "") == command.end()


def test_hup_does_not_end_it(directory):
    """It reads the configuration again, in which nothing has changed, and serves on."""
    with running("serve", cwd=directory, **SECRET, **NO_BROKER) as command:
        until_started(command)
        command.process.send_signal(signal.SIGHUP)
        while '"configuration_reloaded"' not in (line := command.read_until('{"timestamp"')):
            pass

        assert [] == json.loads(line)["changed"]
        assert (0, "") == command.end()


def test_a_terminal_that_hangs_up_ends_it(directory):
    """Who closes the window does not leave a bridge behind, which HUP alone would not end."""
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bridge", "serve"],
        cwd=directory,
        env=environment(**SECRET, **NO_BROKER),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=partial(fcntl.ioctl, 0, termios.TIOCSCTTY, 0),
    )
    os.close(terminal)
    try:
        seen = b""
        while b"service_started" not in seen:
            seen += os.read(master, 4096)
        os.close(master)

        assert 0 == process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()


def test_a_log_whose_reader_has_ended(directory):
    """It goes on: what it takes is worth more than what it says."""
    with running("serve", cwd=directory, **SECRET, **NO_BROKER) as command:
        until_started(command)
        url = json.loads(command.lines[-1])["url"]
        command.stdout.close()
        for _ in range(5):
            assert 404 == status(url)
        command.process.send_signal(signal.SIGTERM)

        assert 0 == command.process.wait(timeout=30)
        assert "" == command.stderr.read()


def status(url):
    """Ask for a page that is not there; return the status of the answer."""
    try:
        urllib.request.urlopen(f"{url}/nothing", timeout=5)  # noqa: S310  # it is http
    except urllib.error.HTTPError as error:
        return error.code


def test_a_log_that_nobody_reads(directory):
    """A pipe that is full holds up neither answers nor the end; what did not fit is counted."""
    with running("serve", cwd=directory, **SECRET, **NO_BROKER) as command:
        until_started(command)
        url = json.loads(command.lines[-1])["url"]
        for _ in range(500):  # far more than a pipe holds
            assert 404 == status(url)
        command.process.send_signal(signal.SIGTERM)

        assert 0 == command.process.wait(timeout=30)


def test_a_log_and_errors_that_nobody_reads(directory):
    """With both streams in one pipe that is full (``2>&1``) it still ends with the right code."""
    reader, writer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "serve"],
            cwd=directory,
            env=environment(**SECRET, **NO_BROKER, BRIDGE_SPOOL__PATH="spool.db"),
            stdout=writer,
            stderr=writer,
        )
        with contextlib.ExitStack() as stack:
            stack.callback(process.wait)
            stack.callback(process.kill)
            seen = b""
            while b"service_started" not in seen:
                seen += os.read(reader, 65536)
            fill(writer)
            (directory / "spool.db").unlink()

            assert 75 == process.wait(timeout=30)
    finally:
        os.close(reader)
        os.close(writer)


def fill(pipe):
    """Write until it takes nothing more, for a program that waits as for one that does not."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x")
    os.set_blocking(pipe, True)


def test_closed_standard_streams(directory):
    """What the shell has closed (``>&- 2>&-``) keeps it neither from serving nor from its end."""
    with contextlib.closing(reserve_port()) as held:
        admin = held.getsockname()[1]
        command = f"exec {sys.executable} -m bridge serve <&- >&- 2>&-"
        ports = {"BRIDGE_SERVER__PORT": "0", "BRIDGE_SERVER__ADMIN_PORT": f"{admin}"}
        process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=directory,
            env=environment(**SECRET, **NO_BROKER, **ports),
        )
        with contextlib.ExitStack() as stack:
            stack.callback(process.wait)
            stack.callback(process.kill)
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline and not answers(admin):
                assert process.poll() is None
                time.sleep(0.05)
            process.terminate()

            assert 0 == process.wait(timeout=30)


def answers(port):
    """Return whether the admin listener answers."""
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200
    return False


def test_hup_while_it_loads(directory):
    """Asked to read its configuration again before it has read it, it goes on."""
    (directory / "uvloop.py").write_text(
        "print('loading', flush=True)\nimport sys\nsys.stdin.read(1)\n"
        "sys.path.pop(0)\ndel sys.modules['uvloop']\nfrom uvloop import *\nimport uvloop"
    )
    with running("serve", cwd=directory, stdin=subprocess.PIPE, **SECRET, **NO_BROKER) as command:
        command.read_until("loading")
        command.process.send_signal(signal.SIGHUP)
        command.process.stdin.write("x")
        command.process.stdin.flush()

        until_started(command)
        assert (0, "") == command.end()


def test_a_busy_port_is_69(directory):
    """The error names the port and what to do about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {**SECRET, **NO_BROKER, "BRIDGE_SERVER__PORT": f"{port}"}
        result = invoke("serve", env=env)

    assert 69 == result.exit_code
    assert f"{port}" in result.stderr
    assert "BRIDGE_SERVER__PORT" in result.stderr


def test_an_address_that_is_not_ours_is_69(directory):
    """Other reasons for not listening have their own remedy."""
    env = {**SECRET, **NO_BROKER, "BRIDGE_SERVER__HOST": "192.0.2.1", "BRIDGE_SERVER__PORT": "0"}
    result = invoke("serve", env=env)

    assert 69 == result.exit_code
    assert "192.0.2.1" in result.stderr


def test_warnings_of_the_configuration_are_logged(directory):
    """What looks like a mistake is in the log, not beside it."""
    with running("serve", cwd=directory, **SECRET, **NO_BROKER, BRIDGE_PORT="1") as command:
        warning = json.loads(command.read_until('{"timestamp"'))
        command.end()

    assert ("warning", "config_warning") == (warning["level"], warning["action"])
    assert "BRIDGE_PORT" in warning["detail"]


def limited(soft, hard):
    """Return the program that serves with these limits of open files."""
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
        "sys.argv = ['bridge', 'serve']; from bridge.__main__ import main; main()"
    )
    return ("-c", code)


@pytest.mark.parametrize("limit", [12, 16, 19, 22, 63])
def test_too_few_open_files_is_69(directory, limit):
    """It says so, and neither blames a disk or a port nor fails in the middle."""
    with running(cwd=directory, program=limited(limit, limit), **SECRET, **NO_BROKER) as command:
        code, stderr = command.wait()

    assert (69, []) == (code, command.lines)
    assert stderr.startswith(f"error: at most {limit} files may be open: raise the limit")


def test_a_low_limit_that_may_be_raised_is_raised(directory):
    """A soft limit is a default that nobody has to set."""
    with running(cwd=directory, program=limited(19, 1024), **SECRET, **NO_BROKER) as command:
        until_started(command)
        assert (0, "") == command.end()
