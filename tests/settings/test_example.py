"""config/bridge.toml is complete, shows the defaults, and runs unchanged."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme
from pydantic import BaseModel

from bridge.settings import Settings, load
from bridge.settings.keys import table_of
from tests.settings.support import SECRET

EXAMPLE = Path(__file__).parents[2] / "config" / "bridge.toml"


@pytest.fixture(scope="module")
def text() -> str:
    """Return the unchanged example."""
    return EXAMPLE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def everything(text: str) -> str:
    """Return the example with all that is commented out put in force."""
    return re.sub(r"^#(?=\S)", "", text, flags=re.MULTILINE)


def keys_in(tree: dict[str, Any], at: str = "") -> Iterator[str]:
    """Yield the dotted keys of TOML, without the indexes of lists."""
    for name, value in tree.items():
        yield f"{at}{name}"
        for held in value if isinstance(value, list) else [value]:
            if isinstance(held, dict):
                yield from keys_in(held, f"{at}{name}.")


def keys_of(model: type[BaseModel], at: str = "") -> Iterator[str]:
    """Yield the dotted keys of the model."""
    for name, field in model.model_fields.items():
        yield f"{at}{name}"
        if held := table_of(field):
            yield from keys_of(held, f"{at}{name}.")


def test_the_example_has_every_key(everything: str) -> None:
    """What the model knows stands in the example, commented out or not, and nothing else."""
    like_any_secret = {
        "broker.password.file",
        "broker.password.optional",
        "server.admin_token.file",
    }

    assert set(keys_of(Settings)) - like_any_secret == set(keys_in(tomllib.loads(everything)))


def test_the_example_shows_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unchanged, it sets nothing but defaults."""
    monkeypatch.chdir(tmp_path)

    assert load(None, SECRET) == load(EXAMPLE, SECRET)


def test_the_example_leaves_nothing_to_the_defaults(text: str) -> None:
    """What is in force covers every key with a default that can be written in TOML."""
    shown = set(keys_in(tomllib.loads(text)))
    commented_out = {
        *("server.tls_certificate", "server.tls_key", "broker.username", "broker.password"),
        *("broker.ca_file", "broker.client_certificate", "broker.client_key"),
        *("endpoints.source", "routes", "queues"),
        "server.admin_token",
    }

    assert {key for key in keys_of(Settings) if key.count(".") < 2} - shown == {
        key
        for key in keys_of(Settings)
        if key.count(".") < 2 and (key in commented_out or key.split(".")[0] in commented_out)
    }


def test_all_of_the_example_is_right(everything: str, tmp_path: Path) -> None:
    """What is commented out is valid, too."""
    path = tmp_path / "bridge.toml"
    for certificate, key in (("tls.crt", "tls.key"), ("client.crt", "client.key")):
        pair = trustme.CA().issue_cert("bridge.example.com")
        pair.cert_chain_pems[0].write_to_path(str(tmp_path / certificate))
        pair.private_key_pem.write_to_path(str(tmp_path / key))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    here = everything.replace("/etc/superoffice-bridge", str(tmp_path))
    path.write_text(here, encoding="utf-8")
    settings = load(path, SECRET).settings

    assert ("crm.contacts", "billing") == (settings.routes[0].exchange, settings.queues[0].name)
    assert ("amqp://guest:guest@127.0.0.1:5672/",) == settings.broker.connection_urls()


def test_credentials_in_a_variable_work_with_the_example() -> None:
    """The example sets no user name or password that would win over the URL."""
    environ = SECRET | {"BRIDGE_BROKER__URLS": "amqp://u:p@h/"}

    assert ("amqp://u:p@h/",) == load(EXAMPLE, environ).settings.broker.connection_urls()


def test_every_key_of_the_example_is_explained(text: str) -> None:
    """The line above each key is prose."""
    lines = text.splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if re.match(r"#?[a-z_]+ = ", line) and not above.startswith("# ")
    ]

    assert [] == bare
