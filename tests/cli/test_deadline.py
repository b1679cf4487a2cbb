"""Files of the configuration that do not come from their disk."""

import os
import threading

import pytest

from bridge.cli import deadline
from tests.cli.conftest import invoke


def test_a_file_that_is_never_read(directory, monkeypatch):
    """It is named, with what to do, and the exit code is that of a disk in trouble."""
    monkeypatch.setattr(deadline, "_SLOW_SECONDS", 0.05)
    monkeypatch.setattr(deadline, "_READ_SECONDS", 0.1)
    monkeypatch.delenv("SUPEROFFICE_SECRET", raising=False)
    os.mkfifo(directory / "secret")
    monkeypatch.setenv("SUPEROFFICE_SECRET_FILE", str(directory / "secret"))
    ended = invoke("check")
    os.close(os.open(directory / "secret", os.O_WRONLY | os.O_NONBLOCK))  # its thread goes on

    assert 75 == ended.exit_code, ended.output
    assert f"error: {directory / 'secret'} could not be read within 0.1 s" in ended.stderr


def test_a_file_that_takes_its_time(monkeypatch):
    """It is waited for, and what is wrong with it is said as ever."""
    monkeypatch.setattr(deadline, "_SLOW_SECONDS", 0.01)
    slow = threading.Event()

    def read():
        slow.wait(10)
        raise ValueError("as ever")

    with pytest.raises(ValueError, match="as ever"):
        deadline.read_in_time(read, is_slow=slow.set)
