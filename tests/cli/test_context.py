"""Which configuration a command works with."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from bridge.cli.context import (
    DEV_FILE,
    Development,
    announce,
    client_settings,
    running_development,
)
from bridge.cli.errors import Unavailable
from bridge.core.errors import ConfigInvalid

DEVELOPMENT = Development(
    pid=os.getpid(),
    url="http://127.0.0.1:9000/webhook",
    admin_url="http://127.0.0.1:9001",
    amqp_url="amqp://dev:p%40ss@127.0.0.1:9002/",
    spool_path="/dev-spool/spool.db",
    secret="random",
)


@pytest.fixture
def announcement(directory):
    """Announce a ``bridge dev`` in an empty directory."""
    with announce(DEVELOPMENT):
        yield


def test_a_running_dev_is_found_by_the_file_it_holds(announcement):
    """The file says it all, is nobody else's to read, and goes with the block."""
    assert DEVELOPMENT == running_development()
    assert 0o600 == DEV_FILE.stat().st_mode & 0o777
    assert ["dev.json"] == os.listdir(DEV_FILE.parent)


def test_the_file_is_gone_afterwards(directory):
    """Nothing is left of an announcement."""
    with announce(DEVELOPMENT):
        pass

    assert [] == os.listdir(DEV_FILE.parent)
    assert running_development() is None


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}', "\xff"])
def test_a_file_left_behind_is_ignored(directory, content):
    """What nobody holds is stale, whatever it says and whose pid it names."""
    DEV_FILE.parent.mkdir()
    DEV_FILE.write_text(content)

    assert running_development() is None


def test_a_stale_file_is_replaced(directory):
    """A dev that was killed does not stand in the way of the next."""
    DEV_FILE.parent.mkdir()
    DEV_FILE.write_text(json.dumps({"pid": 1}))
    with announce(DEVELOPMENT):
        assert DEVELOPMENT == running_development()


def test_the_first_dev_counts(announcement, capsys):
    """A second one says so, and takes nothing from the first."""
    with announce(replace(DEVELOPMENT, pid=1)):
        assert DEVELOPMENT == running_development()
    assert DEVELOPMENT == running_development()
    assert f"pid {os.getpid()}" in capsys.readouterr().err


def test_a_running_dev_fills_in_the_configuration(announcement):
    """Its URLs, credentials and secret are used as if the environment said them."""
    settings = client_settings(None)

    assert (DEVELOPMENT.amqp_url,) == settings.broker.connection_urls()
    assert ("127.0.0.1", 9000) == (settings.server.host, settings.server.port)
    assert (b"random",) == settings.endpoints[0].secret_keys
    assert Path("/dev-spool/spool.db") == settings.spool.path


def test_the_environment_wins_over_a_running_dev(announcement, monkeypatch):
    """A broker named by the environment is taken with its own credentials, in either case."""
    monkeypatch.setenv("bridge_broker__urls", "amqp://real/")
    monkeypatch.setenv("SUPEROFFICE_SECRET", "real")
    monkeypatch.setenv("BRIDGE_SERVER__PORT", "9999")
    settings = client_settings(None)

    assert ("amqp://guest:guest@real",) == tuple(
        url.rstrip("/") for url in settings.broker.connection_urls()
    )
    assert (b"real",) == settings.endpoints[0].secret_keys
    assert 9999 == settings.server.port


def test_a_secret_file_wins_over_a_running_dev(announcement, monkeypatch, directory):
    """SUPEROFFICE_SECRET_FILE is a secret as good as SUPEROFFICE_SECRET."""
    (directory / "secret").write_text("real\n")
    monkeypatch.setenv("SUPEROFFICE_SECRET_FILE", str(directory / "secret"))

    assert (b"real",) == client_settings(None).endpoints[0].secret_keys


def test_a_named_file_wins_over_a_running_dev(announcement, directory):
    """With --config nothing of a running dev is used."""
    config = directory / "mine.toml"
    config.write_text("")

    with pytest.raises(ConfigInvalid):
        client_settings(config)


def test_warnings_go_to_standard_error(directory, monkeypatch, capsys):
    """What looks like a mistake is said, and does not stop the command."""
    monkeypatch.setenv("SUPEROFFICE_SECRET", "x")
    monkeypatch.setenv("BRIDGE_PORT", "1")
    client_settings(None)
    printed = capsys.readouterr()

    assert "" == printed.out
    assert printed.err.startswith("warning: BRIDGE_PORT")


def test_a_directory_that_cannot_be_written(directory):
    """The error says what to do."""
    (directory / "var").write_text("a file where a directory should be")

    with pytest.raises(Unavailable, match=r"var/dev\.json"), announce(DEVELOPMENT):
        pass
