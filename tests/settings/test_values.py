"""What each key takes, and what it refuses with which words."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from bridge.core.errors import Problem
from bridge.settings import EndpointSettings, QueueSettings, RouteSettings
from bridge.settings.keys import field_at, settable
from tests.settings.support import problems_of, settings_of, table

LONG = "a" * 256
REFUSED = {
    "server.host": ['""', '"a b"', "1", '"http://x"'],
    "server.port": ["-1", "65536", "80.5", "true", '"http"'],
    "server.tls_certificate": ['""', '" "', "1", '"a\\u0000b"'],
    "server.tls_key": ['""', "1"],
    "server.admin_host": ['""'],
    "server.admin_port": ["-1", "65536"],
    "server.max_body_bytes": ["0", "-1", "134217729", '"1 MiB"'],
    "server.read_timeout_seconds": ["0", "-1", "inf", "nan", "true", '"soon"'],
    "server.max_connections": ["0", "-1", "1.5", "true"],
    "server.idle_timeout_seconds": ["0", "-1", "inf"],
    "server.max_signature_failures": ["-1", "0.5", "true"],
    "server.signature_failure_window_seconds": ["0", "inf"],
    "server.shutdown_grace_seconds": ["-0.1", "inf"],
    "endpoints.name": ['""', '"Oslo"', '"_oslo"', '"a b"', '"a\\n"', "1"],
    "endpoints.path": ['""', '"oslo"', '"/a?b"', '"/a#b"', '"/{a}"', '"/a b"', '"/ø"'],
    "endpoints.secrets": ['"SUPEROFFICE_SECRET"', '{ env = "SUPEROFFICE_SECRET" }', "1"],
    "endpoints.allow_unsigned": ["1", '"false"'],
    "endpoints.contexts": ['"Cust1"', "1"],
    "endpoints.publish_test_events": ["0", '"yes"'],
    "endpoints.source": ['""', '"a b"', '"/ø"'],
    "broker.urls": ['"a"', "[]"],
    "broker.username": ['""', "1"],
    "broker.auth": ['"EXTERNAL"', '"none"', "1"],
    "broker.ca_file": ['""', "1"],
    "broker.client_certificate": ['""', "1"],
    "broker.client_key": ['""', "1"],
    "broker.exchange": ['""', '"amq.topic"', f'"{LONG}"', f'"{"ø" * 128}"', '"a\\nb"'],
    "broker.topology": ['"DECLARE"', '"create"', "true"],
    "broker.confirm_deadline_seconds": ["0", "-1", "5", "5.0", "60", "nan", "true"],
    "routes.match": ['""', '"Contact.*"', '"a..b"', '"a."', '".a"', '"a.*b"', '"##"', f'"{LONG}"'],
    "routes.exchange": ['""', '"superoffice.parked"', '"superoffice.unrouted"'],
    "routes.routing_key": ['""', '"{id}"', '"{entity.name}"', '"{}"', '"{{a}}"', '"A"', '"a/b"'],
    "routes.format": ['"json"', '"RAW"'],
    "queues.name": ['""', '"amq.gen"', f'"{LONG}"', '"superoffice.parked"'],
    "queues.exchange": ['""', '"amq.direct"', '"superoffice.unrouted"'],
    "queues.bindings": ["[]", '"a.b"'],
    "queues.type": ['"lazy"', "1"],
    "queues.single_active_consumer": ['"true"', "1"],
    "spool.path": ['""', '" "', '":memory:"', "1", '"a\\u0000b"'],
    "spool.max_bytes": ["0", "1048575"],
    "spool.refused_tries": ["0", "-1", "1.5"],
    "dedup.window_seconds": ["-1", "inf"],
    "dedup.max_events": ["-1", "0.5"],
    "log.level": ['"INFO"', '"warn"', "10"],
    "log.format": ['"text"', "true"],
    "tracing.enabled": ["1", '"yes"', '"True"'],
}
ACCEPTED = {
    "server.host": ['"::1"', '"localhost"'],
    "server.port": ["0", "65535"],
    "server.max_body_bytes": ["1", "134217728"],
    "server.read_timeout_seconds": ["0.1", "5"],
    "server.max_connections": ["1", "100000"],
    "server.max_signature_failures": ["0"],
    "server.shutdown_grace_seconds": ["0", "20"],
    "endpoints.name": ['"0"', '"a_b-c9"'],
    "endpoints.path": ['"/"', '"/a/b.c~d/%C3%B8"'],
    "endpoints.contexts": ['["Default", "Cust 1"]', "[]"],
    "endpoints.source": ['"/superoffice/oslo"', '"https://crm.example/so?x=1#y"'],
    "broker.exchange": [f'"{"a" * 255}"', '"crm events"', '"superoffice"', '"amqp"'],
    "broker.confirm_deadline_seconds": ["0.001", "4.999", "1"],
    "routes.match": [
        '"#"',
        '"*"',
        '"contact.*"',
        '"#.created"',
        '"y_a-b%2f.#.x"',
        f'"{"a" * 255}"',
    ],
    "routes.routing_key": ['"{context}.{endpoint}.{entity}-{action}_{primary_key}"', '"all"'],
    "queues.name": [f'"{"a" * 255}"', '"Billing inbox"'],
    "queues.bindings": ['["#"]', '["a.*", "b.#"]'],
    "queues.type": ['"quorum"', '"classic"', '"stream"'],
    "queues.single_active_consumer": ["true", "false"],
    "spool.path": ['"/var/lib/bridge/spool 1.db"'],
    "spool.max_bytes": ["1048576"],
    "spool.refused_tries": ["1"],
    "dedup.window_seconds": ["0"],
    "dedup.max_events": ["0"],
}


def cases(values: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return pairs of a key and one of its values."""
    return [(key, value) for key, several in values.items() for value in several]


def write(folder: Path, key: str, value: str) -> Path:
    """Write a file in which only one key is of interest."""
    section, name = key.split(".")
    path = folder / "bridge.toml"
    path.write_text(table(section, **{name: value}), encoding="utf-8")
    return path


@pytest.mark.parametrize(("key", "value"), cases(REFUSED))
def test_a_wrong_value_is_the_only_problem(tmp_path: Path, key: str, value: str) -> None:
    """One mistake is one problem, and it says what the key takes."""
    section, name = key.split(".")
    path = write(tmp_path, key, value)
    field = field_at((section, name))
    index = "[0]" if section in ("endpoints", "routes", "queues") else ""

    assert field is not None
    assert (
        Problem(str(path), f"{section}{index}.{name}", field.description or "(nothing)"),
    ) == problems_of(path)


@pytest.mark.parametrize(("key", "value"), cases(ACCEPTED))
def test_a_value_within_the_limits_is_taken(tmp_path: Path, key: str, value: str) -> None:
    """The limits themselves are allowed, and values stay as they were written."""
    section, name = key.split(".")
    held = getattr(settings_of(write(tmp_path, key, value)), section)
    found = getattr(held[0] if isinstance(held, tuple) else held, name)
    written = tomllib.loads(f"value = {value}")["value"]

    assert type(found)(written) == found


def test_a_number_may_be_a_string(tmp_path: Path) -> None:
    """Numbers in variables are strings, so they may be in a file as well."""
    assert 9000 == settings_of(write(tmp_path, "server.port", '"9000"')).server.port


@pytest.mark.parametrize(
    ("key", "value", "place", "words"),
    [
        ("broker.urls", '["amqp://h/", "http://h/"]', "broker.urls[1]", "amqp://host:port/vhost"),
        ("endpoints.contexts", '["Cust1", ""]', "endpoints[0].contexts[1]", "ContextIdentifier"),
        ("endpoints.contexts", "[20001]", "endpoints[0].contexts[0]", "in quotes"),
        ("queues.bindings", '["a.b", "A"]', "queues[0].bindings[1]", "words of a-z"),
    ],
)
def test_a_wrong_item_is_named_by_its_index(
    tmp_path: Path, key: str, value: str, place: str, words: str
) -> None:
    """In a list it is the item that is wrong, and the words are about items."""
    (problem,) = problems_of(write(tmp_path, key, value))

    assert place == problem.key
    assert words in problem.allowed


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("broker.confirm_deadline_seconds", "gives a delivery up"),
        ("broker.exchange", "where the bridge keeps what it could not deliver"),
        ("server.max_body_bytes", "RabbitMQ"),
    ],
)
def test_a_surprising_limit_is_explained(key: str, reason: str) -> None:
    """A limit that is not plain common sense comes with its reason."""
    section, name = key.split(".")
    field = field_at((section, name))

    assert field is not None
    assert reason in (field.description or "")


def test_every_key_is_tried() -> None:
    """There is no key without a test of what it refuses."""
    lists: dict[str, type[BaseModel]] = {
        "endpoints": EndpointSettings,
        "routes": RouteSettings,
        "queues": QueueSettings,
    }
    in_lists = {f"{name}.{key}" for name, model in lists.items() for key in model.model_fields}
    single = {".".join(path) for path in settable() if len(path) == 2}

    assert (single | in_lists) - {"broker.password", "server.admin_token"} == REFUSED.keys()


def test_a_required_key_is_called_so(tmp_path: Path) -> None:
    """What is missing from a table of a list is named, with what it takes."""
    path = tmp_path / "bridge.toml"
    path.write_text('[[routes]]\nexchange = "crm"\n[[queues]]\nbindings = ["#"]\n')
    problems = problems_of(path)

    assert ["queues[0].name", "routes[0].match"] == [problem.key for problem in problems]
    assert all(problem.allowed.startswith("required: ") for problem in problems)


def test_routes_and_queues_follow_the_exchange_of_the_broker(tmp_path: Path) -> None:
    """A route or queue that names no exchange means the broker's, one that does means its own."""
    path = tmp_path / "bridge.toml"
    path.write_text(
        table("broker", exchange='"crm"')
        + table("routes")
        + table("queues")
        + table("routes", exchange='"superoffice"')
    )
    settings = settings_of(path)

    assert ["crm", "superoffice"] == [route.exchange for route in settings.routes]
    assert ["crm"] == [queue.exchange for queue in settings.queues]


def test_settings_do_not_change(tmp_path: Path) -> None:
    """Neither a section nor the whole takes assignments."""
    settings = settings_of(write(tmp_path, "server.port", "1"))

    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 2
    with pytest.raises(ValueError, match="frozen"):
        settings.log = settings.log
