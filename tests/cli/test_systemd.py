"""Sockets that systemd passes, and the news that it wants, without systemd."""

import os
import socket

import pytest

from bridge.cli import systemd
from bridge.core.errors import ConfigInvalid

NAMES = ("public", "admin")


@pytest.fixture
def passed(monkeypatch):
    """Return the variables for one socket, as systemd sets them for this process."""

    def variables(given, *, name, pid=None):
        monkeypatch.setattr(systemd, "_FIRST", os.dup(given.fileno()))
        pid = os.getpid() if pid is None else pid
        return {"LISTEN_PID": f"{pid}", "LISTEN_FDS": "1", "LISTEN_FDNAMES": name, "HOME": "/"}

    return variables


@pytest.fixture
def listening():
    """Return a socket that listens."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_socket_is_taken_by_its_name(passed, listening):
    """No program that this one starts inherits it, or its variables."""
    environ = passed(listening, name="admin")
    found = systemd.sockets(environ, names=NAMES)
    [taken] = found["admin"]
    with taken:
        assert ([], {"HOME": "/"}) == (found["public"], environ)
        assert (listening.getsockname(), False) == (taken.getsockname(), taken.get_inheritable())


@pytest.mark.parametrize("pid", ["1", "", "x"])
def test_what_another_process_was_passed_is_not_ours(passed, listening, pid):
    """A shell that systemd has started may start a bridge, which inherits the variables."""
    environ = passed(listening, name="admin", pid=pid)

    assert {} == systemd.sockets(environ, names=NAMES)
    assert {"HOME": "/"} == environ
    os.close(systemd._FIRST)


@pytest.mark.parametrize("name", ["", "superoffice-bridge.socket"])
def test_a_name_that_no_listener_has(passed, listening, name):
    """What systemd calls a socket without FileDescriptorName is no name of ours."""
    with pytest.raises(ConfigInvalid, match="FileDescriptorName: one of public, admin"):
        systemd.sockets(passed(listening, name=name), names=NAMES)
    os.close(systemd._FIRST)


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_INET, socket.SOCK_STREAM),
        (socket.AF_UNIX, socket.SOCK_STREAM),
    ],
)
def test_a_socket_that_is_no_listener_for_tcp(passed, family, kind):
    """Of another kind, or one that was accepted already: the unit is wrong."""
    with socket.socket(family, kind) as given:
        environ = passed(given, name="public")
        with pytest.raises(ConfigInvalid, match="ListenStream: a TCP port"):
            systemd.sockets(environ, names=NAMES)


@pytest.mark.parametrize("abstract", [False, True])
def test_news(tmp_path, abstract):
    """They go to a path, or to a name that is in no directory."""
    address = f"@bridge-{os.getpid()}" if abstract else f"{tmp_path / 'news'}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(address.replace("@", "\0"))
        reader.settimeout(10)
        systemd.notify({"NOTIFY_SOCKET": address}, "READY=1")

        assert b"READY=1" == reader.recv(100)


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/news"}])
def test_news_that_nobody_reads(environ):
    """A bridge starts whether or not anybody wants to know."""
    systemd.notify(environ, "READY=1")
