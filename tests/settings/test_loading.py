"""Loading: file, environment, defaults, and one report of everything that is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.core.errors import ConfigInvalid
from bridge.settings import load
from bridge.settings.keys import settable
from tests.settings.support import (
    ENDPOINT,
    QUEUE,
    ROUTE,
    SECRET,
    places,
    problems_of,
    settings_of,
    table,
)
from tests.settings.test_certificates import TLS

QUEUE_OF_EVERYTHING = {
    "name": "q",
    "exchange": "x",
    "bindings": ["#"],
    "type": "classic",
    "single_active_consumer": True,
}

EVERY_VARIABLE = {
    "BRIDGE_SERVER__HOST": ("::1", "::1"),
    "BRIDGE_SERVER__PORT": ("0", 0),
    "BRIDGE_SERVER__ADMIN_HOST": ("::", "::"),
    "BRIDGE_SERVER__ADMIN_PORT": ("9081", 9081),
    "BRIDGE_SERVER__MAX_BODY_BYTES": ("2048", 2048),
    "BRIDGE_SERVER__READ_TIMEOUT_SECONDS": ("1.5", 1.5),
    "BRIDGE_SERVER__ADMIN_TOKEN": ("hunter2", "**********"),
    "BRIDGE_SERVER__MAX_CONNECTIONS": ("1", 1),
    "BRIDGE_SERVER__IDLE_TIMEOUT_SECONDS": ("1", 1.0),
    "BRIDGE_SERVER__MAX_SIGNATURE_FAILURES": ("1", 1),
    "BRIDGE_SERVER__SIGNATURE_FAILURE_WINDOW_SECONDS": ("1", 1.0),
    "BRIDGE_SERVER__SHUTDOWN_GRACE_SECONDS": ("0", 0.0),
    "BRIDGE_ENDPOINTS": (
        '[{"name": "oslo", "path": "/oslo", "secrets": [{"env": "A"}, {"env": "B"}],'
        ' "contexts": ["Cust1"], "publish_test_events": true, "source": "/oslo"},'
        ' {"name": "open", "path": "/", "allow_unsigned": true}]',
        [
            {
                "name": "oslo",
                "path": "/oslo",
                "secrets": ["**********"] * 2,
                "allow_unsigned": False,
                "contexts": ["Cust1"],
                "publish_test_events": True,
                "source": "/oslo",
            },
            {
                "name": "open",
                "path": "/",
                "secrets": [],
                "allow_unsigned": True,
                "contexts": [],
                "publish_test_events": False,
                "source": None,
            },
        ],
    ),
    "BRIDGE_BROKER__URLS": ('["amqps://h/v"]', ["amqps://guest@h/v"]),
    "BRIDGE_BROKER__USERNAME": ("bridge", "bridge"),
    "BRIDGE_BROKER__PASSWORD": ("hunter2", "**********"),
    "BRIDGE_BROKER__EXCHANGE": ("crm", "crm"),
    "BRIDGE_BROKER__TOPOLOGY": ("verify", "verify"),
    "BRIDGE_BROKER__CONFIRM_DEADLINE_SECONDS": ("1", 1.0),
    "BRIDGE_ROUTES": (
        '[{"match": "#", "exchange": "x", "routing_key": "{entity}", "format": "raw"}]',
        [{"match": "#", "exchange": "x", "routing_key": "{entity}", "format": "raw"}],
    ),
    "BRIDGE_QUEUES": (
        json.dumps([QUEUE_OF_EVERYTHING]),
        [QUEUE_OF_EVERYTHING],
    ),
    "BRIDGE_SPOOL__PATH": ("/var/spool.db", "/var/spool.db"),
    "BRIDGE_SPOOL__MAX_BYTES": ("1048576", 1_048_576),
    "BRIDGE_SPOOL__REFUSED_TRIES": ("1", 1),
    "BRIDGE_DEDUP__WINDOW_SECONDS": ("1", 1.0),
    "BRIDGE_DEDUP__MAX_EVENTS": ("1", 1),
    "BRIDGE_LOG__LEVEL": ("debug", "debug"),
    "BRIDGE_LOG__FORMAT": ("console", "console"),
    "BRIDGE_TRACING__ENABLED": ("true", True),
}
"""Of each variable: its text, and what the settings then show, which never is the default."""


def test_every_key_can_be_set_by_a_variable() -> None:
    """The table above leaves out no key of the model, and holds no other."""
    keys = {"BRIDGE_" + "__".join(path).upper() for path in settable()}
    references = {f"BRIDGE_BROKER__PASSWORD__{x}" for x in ("ENV", "FILE", "OPTIONAL", "DEFAULT")}
    references |= {f"BRIDGE_SERVER__ADMIN_TOKEN__{x}" for x in ("ENV", "FILE", "OPTIONAL")}

    assert keys - references - TLS.keys() == EVERY_VARIABLE.keys()


@pytest.mark.parametrize("change_case", [str.upper, str.lower])
def test_the_environment_alone_configures_everything(path: Path, change_case: Any) -> None:
    """Without a line in a file, every key takes the value of its variable."""
    variables = {change_case(name): text for name, (text, _) in EVERY_VARIABLE.items()}
    shown = settings_of(path, variables | {"A": "a", "B": "b"}).model_dump(mode="json")

    for name, (_, expected) in EVERY_VARIABLE.items():
        section, _, key = name.removeprefix("BRIDGE_").lower().partition("__")
        assert expected == (shown[section][key] if key else shown[section]), name


@pytest.mark.parametrize("name", EVERY_VARIABLE)
def test_a_variable_wins_over_the_file(path: Path, name: str) -> None:
    """Each variable replaces the file's value, and nothing beside it."""
    path.write_text(
        table("server", port="1", admin_port="2")
        + table("endpoints", **ENDPOINT)
        + table("routes", **ROUTE)
        + table("queues", **QUEUE)
        + table("broker", username='"u"', password='{ env = "A", default = "x" }')
        + table("log", level='"error"')
    )
    text, expected = EVERY_VARIABLE[name]
    environ = SECRET | {"A": "a", "B": "b"}
    shown = settings_of(path, environ | {name: text}).model_dump(mode="json")
    before = settings_of(path, environ).model_dump(mode="json")
    section, _, key = name.removeprefix("BRIDGE_").lower().partition("__")
    if key:
        before[section][key] = expected
    else:
        before[section] = expected
    if name == "BRIDGE_BROKER__EXCHANGE":  # the queue and the route follow
        before["routes"][0]["exchange"] = before["queues"][0]["exchange"] = expected

    assert before == shown


def test_urls_may_be_separated_by_commas(path: Path) -> None:
    """A list of URLs need not be JSON, and blanks around the commas do not count."""
    environ = SECRET | {"BRIDGE_BROKER__URLS": "amqp://a, amqps://b:5671/v ,"}

    assert ("amqp://guest@a", "amqps://guest@b:5671/v") == (
        settings_of(path, environ).broker.safe_urls()
    )


def test_the_process_environment_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mapping that is handed in counts."""
    monkeypatch.setenv("BRIDGE_SERVER__PORT", "1")
    monkeypatch.setenv("BRIDGE_NONSENSE__X", "1")

    assert 8080 == settings_of(path).server.port


def test_without_a_file_the_defaults_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no config/bridge.toml the built-in defaults are used."""
    monkeypatch.chdir(tmp_path)

    assert 8080 == load(None, SECRET).settings.server.port


def test_the_file_of_the_working_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a path is given, it is config/bridge.toml, and problems name it so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "bridge.toml").write_text("[server]\nport = 0\nadmin_port = -1\n")

    assert [("config/bridge.toml", "server.admin_port")] == places(problems_of(None))


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    """A path that leads nowhere is a problem, never a reason to use the defaults."""
    missing = tmp_path / "none.toml"
    (problem,) = problems_of(missing, {})

    assert (str(missing), "file") == (problem.source, problem.key)
    assert "No such file" in problem.allowed


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """What cannot be read is named with the reason of the operating system."""
    (problem,) = problems_of(tmp_path)

    assert "Is a directory" in problem.allowed


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"[server]\nport = \n", "line 2, column 8"),
        (b"[server\n", "line 1, column 8"),
        (b"a = '''", "end of document"),
        (b"# \xff\n", "byte 3"),
    ],
)
def test_a_mistake_in_toml_is_located(path: Path, content: bytes, place: str) -> None:
    """The line and column of a syntax error are given; the file's own keys are not judged."""
    path.write_bytes(content)

    problems = problems_of(path, {"BRIDGE_SERVER__PORT": "x"})

    assert {(str(path), place), ("BRIDGE_SERVER__PORT", "server.port")} == set(places(problems))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_of_windows(path: Path, encoding: str, newline: str) -> None:
    """A byte order mark, and its newlines, change nothing."""
    text = table("broker", exchange='"\u00f8"')
    path.write_text(text, encoding=encoding, newline=newline)

    assert "\u00f8" == settings_of(path).broker.exchange


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_file_in_utf16_says_what_to_do(path: Path, encoding: str) -> None:
    """PowerShell writes it with > and Out-File."""
    path.write_text(table("broker", exchange='"crm"'), encoding=encoding)
    [problem] = problems_of(path)

    assert (f"{path}", "file") == (problem.source, problem.key)
    assert "save it again as UTF-8" in problem.allowed


def test_all_problems_are_reported_at_once(path: Path) -> None:
    """Mistakes of the file, of variables and of secrets, of syntax and of meaning: one report."""
    path.write_text(
        "[server]\nport = 70_000\nprot = 1\n"
        '[[endpoints]]\nname = "a"\npath = "a"\nsecrets = [{ env = "MISSING" }]\n'
        '[[endpoints]]\nname = "a"\npath = "/b"\n'
        '[broker]\nexchange = "amq.x"\n'
    )
    problems = problems_of(
        path,
        {
            "BRIDGE_ROUTES": "[{",
            "BRIDGE_QUEUES": '[{"name": "q"}]',
            "BRIDGE_LOG__LEVEL": "loud",
            "BRIDGE_LOG__LEVL": "info",
            "BROKER_PASSWORD": "",
        },
    )

    assert [
        (str(path), "broker.exchange"),
        (str(path), "endpoints[0].path"),
        (str(path), "endpoints[0].secrets[0]"),
        (str(path), "endpoints[1].name"),
        (str(path), "endpoints[1].secrets"),
        (str(path), "endpoints[1].source"),
        (str(path), "server.port"),
        (str(path), "server.prot"),
        ("BRIDGE_LOG__LEVEL", "log.level"),
        ("BRIDGE_LOG__LEVL", "log.levl"),
        ("BRIDGE_QUEUES", "queues[0].bindings"),
        ("BRIDGE_ROUTES", "routes"),
        ("BROKER_PASSWORD", "broker.password"),
    ] == places(problems)


def test_the_error_shows_each_problem_on_a_line(path: Path) -> None:
    """The error can be printed unchanged: source, key, what is allowed."""
    path.write_text("[server]\nport = 1_000_000\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(path, SECRET)

    assert f"{path}: server.port: a whole number from 0 to 65535 (0: any free port)" == str(
        caught.value
    )
