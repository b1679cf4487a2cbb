"""Unknown names, and rules that involve several keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.settings import load
from tests.settings.support import SECRET, places, problems_of, settings_of, table


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[sever]\nport = 1\n", "sever", "did you mean server?"),
        ("[[endpoint]]\n", "endpoint", "did you mean endpoints?"),
        ("[SERVER]\nport = 1\n", "SERVER", "known here: server, endpoints"),
        ("[server]\nprot = 1\n", "server.prot", "did you mean port?"),
        ("[server]\nPort = 1\n", "server.Port", "did you mean port?"),
        ("[log]\ncolour = 1\n", "log.colour", "known here: level, format"),
        ("port = 1\n", "port", "unknown key"),
        ("_env_file = 'x'\n", "_env_file", "unknown key"),
        (table("routes", key='"a"'), "routes[0].key", "unknown key"),
        (
            table("endpoints", secrets='[{ env = "SUPEROFFICE_SECRET", option = true }]'),
            "endpoints[0].secrets[0].option",
            "did you mean optional?",
        ),
    ],
)
def test_an_unknown_key_of_the_file_is_refused(path: Path, text: str, key: str, hint: str) -> None:
    """A slip is not ignored, and the key that was probably meant is offered."""
    path.write_text(text)
    (problem,) = problems_of(path)

    assert (str(path), key) == (problem.source, problem.key)
    assert hint in problem.allowed


@pytest.mark.parametrize(
    ("name", "key", "hint"),
    [
        ("BRIDGE_SERVER__PROT", "server.prot", "did you mean port?"),
        ("BRIDGE_SEVER__PORT", "sever.port", "did you mean server?"),
        ("BRIDGE__SERVER__PORT", "_server.port", "did you mean server?"),
        ("BRIDGE_SERVER__PORT__X", "server.port.x", "unknown key"),
        ("BRIDGE_SERVER__", "server.", "known here: host, port"),
        ("BRIDGE_BROKER__PASSWORD__FLIE", "broker.password.flie", "did you mean file?"),
        ("BRIDGE_ENDPOINTS__0__NAME", "endpoints.0.name", "as JSON, in BRIDGE_ENDPOINTS"),
        ("BRIDGE_BROKER__URLS__0", "broker.urls.0", "as JSON, in BRIDGE_BROKER__URLS"),
    ],
)
def test_an_unknown_variable_with_levels_is_refused(
    path: Path, name: str, key: str, hint: str
) -> None:
    """Two underscores mean a key of ours, so it must be one."""
    (problem,) = problems_of(path, SECRET | {name: "1"})

    assert (name, key) == (problem.source, problem.key)
    assert hint in problem.allowed


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("BRIDGE_PORT_8080_TCP", "ignored"),
        ("BRIDGE_SERVICE_HOST", "ignored"),
        ("BRIDGE_LOG", "ignored"),
        ("BRIDGE_SERVER_PORT", "did you mean BRIDGE_SERVER__PORT?"),
        ("BRIDGE_", "ignored"),
    ],
)
def test_any_other_variable_of_that_prefix_only_warns(path: Path, name: str, hint: str) -> None:
    """Kubernetes sets variables for services by the name of bridge; they change nothing."""
    loaded = load(path, SECRET | {name: "tcp://10.0.0.1:8080"})
    (warning,) = loaded.warnings

    assert name in warning
    assert hint in warning
    assert loaded.settings == settings_of(path)


def test_nothing_else_warns(path: Path) -> None:
    """Variables of others, and our own that are right, are nothing to speak of."""
    environ = SECRET | {"HOME": "/root", "BRIDGES": "x", "BRIDGE_SERVER__PORT": "0"}

    assert () == load(path, environ).warnings


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("BRIDGE_SERVER__PORT", "bridge_server__port"),
        ("BRIDGE_BROKER__PASSWORD", "BRIDGE_BROKER__PASSWORD__ENV"),
        ("BRIDGE_BROKER__PASSWORD", "bridge_broker__password__file"),
    ],
)
def test_two_variables_must_not_set_the_same(path: Path, first: str, second: str) -> None:
    """Which of them would win is not left to chance."""
    (problem,) = problems_of(path, SECRET | {first: "1", second: "2"})

    assert second == problem.source
    assert f"{first} sets it too" in problem.allowed


@pytest.mark.parametrize(
    ("name", "key"), [("BRIDGE_ENDPOINTS", "endpoints"), ("BRIDGE_BROKER__URLS", "broker.urls")]
)
def test_a_mistake_in_json_is_located(path: Path, name: str, key: str) -> None:
    """A list that is not JSON is one problem more, with the place of the mistake."""
    (problem,) = problems_of(path, SECRET | {name: "[1,"})

    assert (name, key) == (problem.source, problem.key)
    assert "line 1 column 4" in problem.allowed


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ("server = 1\n", "server", "a table, [server]"),
        ('log = "debug"\n', "log", "a table, [log]"),
        ("[endpoints]\nname = 'a'\n", "endpoints", "a list of tables, [[endpoints]]"),
        ("routes = ['a']\n", "routes[0]", "a list of tables, [[routes]]"),
    ],
)
def test_a_section_has_its_form(path: Path, text: str, key: str, allowed: str) -> None:
    """A value in place of a table is answered with how to write the table."""
    path.write_text(text)
    (problem,) = problems_of(path)

    assert (key, allowed) == (problem.key, problem.allowed)


def test_a_variable_does_not_hide_a_broken_section(path: Path) -> None:
    """The file's mistake stays the file's."""
    path.write_text("server = 1\n")

    assert [(str(path), "server")] == places(
        problems_of(path, SECRET | {"BRIDGE_SERVER__PORT": "1"})
    )


@pytest.mark.parametrize(
    ("section", "key", "changes"),
    [
        ("endpoints", "name", {"path": '"/b"', "source": '"/b"'}),
        ("endpoints", "path", {"name": '"b"', "source": '"/b"'}),
        ("queues", "name", {}),
    ],
)
def test_names_and_paths_are_unique(
    path: Path, section: str, key: str, changes: dict[str, str]
) -> None:
    """The second of two equals is the one to change, and it says which was first."""
    path.write_text(table(section) + table(section, **changes))
    (problem,) = problems_of(path)

    assert f"{section}[1].{key}" == problem.key
    assert f"{section}[0]" in problem.allowed


def test_a_stream_has_no_single_active_consumer(path: Path) -> None:
    """RabbitMQ would refuse to declare it."""
    path.write_text(table("queues", type='"stream"', single_active_consumer="true"))
    (problem,) = problems_of(path)

    assert "queues[0].single_active_consumer" == problem.key
    assert problem.allowed.startswith("false: a stream")


ANY, CLOUD, SITE = "[]", '["Cust1"]', '["Cust1", "Default"]'
OSLO = '"/superoffice/oslo"'


@pytest.mark.parametrize(
    ("first", "second"),
    [({"contexts": a}, {"contexts": b}) for a in (ANY, SITE) for b in (ANY, SITE)],
)
def test_two_installations_called_default_need_a_source(
    path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    """Two endpoints that may both take "Default" would give their events one source."""
    other = {"name": '"b"', "path": '"/b"'}
    path.write_text(table("endpoints", **first) + table("endpoints", **other, **second))

    assert [(str(path), "endpoints[1].source")] == places(problems_of(path))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"source": OSLO}, {}),
        ({}, {"source": OSLO}),
        ({"source": OSLO}, {"source": '"/superoffice/bergen"'}),
        ({"contexts": CLOUD}, {}),
        ({"contexts": CLOUD}, {"contexts": SITE}),
        ({"contexts": CLOUD}, {"contexts": CLOUD}),
    ],
)
def test_endpoints_that_can_be_told_apart_are_fine(
    path: Path, first: dict[str, str], second: dict[str, str]
) -> None:
    """A source of its own, or contexts without Default, tells installations apart."""
    other = {"name": '"b"', "path": '"/b"'}
    path.write_text(table("endpoints", **first) + table("endpoints", **other, **second))

    assert 2 == len(settings_of(path).endpoints)
