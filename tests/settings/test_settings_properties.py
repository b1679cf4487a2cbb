"""Any configuration is loaded, or refused with a report in which no secret shows."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.errors import ConfigInvalid
from bridge.settings import load
from bridge.settings.keys import settable
from tests.strategies import json_texts
from tests.strategies.json_texts import joined, strings, texts, unreadable, values
from tests.strategies.oracles import URI_REFERENCE
from tests.strategies.webhooks import header_values

TOKEN = "Zq7-hunter2-Wx"

VARIABLES = ["BRIDGE_" + "__".join(names).upper() for names in settable()]
SECTIONS = sorted({variable.rpartition("__")[0] for variable in VARIABLES if "__" in variable})


def _renamed(variable: str, at: int, text: str) -> str:
    return variable[:at] + text + variable[at + 1 :]


NAMES = st.one_of(
    st.sampled_from(VARIABLES),
    st.sampled_from(VARIABLES).map(str.lower),
    st.builds(_renamed, st.sampled_from(VARIABLES), st.integers(7, 30), st.text(max_size=3)),
    st.builds("{}__{}".format, st.sampled_from((*SECTIONS, *VARIABLES)), st.text(max_size=9)),
    st.builds("BRIDGE_{}".format, texts()),
)

# What stands where a secret belongs must never be shown, right or wrong as it may be.
SECRETS = st.sampled_from(
    (
        {"env": "SECRET_OF_TEST"},
        {"env": "ABSENT", "optional": True},
        {"env": "ABSENT"},
        {"file": "{directory}/secret"},
        {"file": "{directory}/secret", "env": "SECRET_OF_TEST"},
        {"file": "{directory}"},
        {"env": "ABSENT", "default": TOKEN},
        {"value": TOKEN},
        TOKEN,
        [TOKEN],
        "",
    )
).map(json.dumps)

HOLDERS = ("SUPEROFFICE_SECRET", "BROKER_PASSWORD", "SECRET_OF_TEST", "ABSENT_FILE")
"""Variables that hold the secret. The bridge does not read the last one."""

URLS = st.builds(
    "{}://{}:{}@{}{}".format,
    st.sampled_from(("amqp", "amqps", "http", "")),
    st.sampled_from(("user", "", "us%40er", "u:v", "user@x")),
    st.sampled_from((TOKEN, TOKEN + "/", TOKEN + "#", "%zz" + TOKEN, TOKEN + "[", TOKEN + " ")),
    st.sampled_from(("host", "host:5672", "host:0", "host:99999", "[::1", "[::1]:1", "h\udcffst")),
    st.sampled_from(("", "/", "/vhost", "/%2f?timeout=1", "/#x")),
)


def _tables(**keys: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return the JSON of a list of tables with some of these keys, and others."""
    pairs = st.one_of(*(st.tuples(st.just(key), value | values()) for key, value in keys.items()))
    items = st.lists(pairs | st.tuples(texts(), values()), max_size=6).map(joined)
    return st.lists(items | values(), max_size=3).map(lambda found: f"[{','.join(found)}]")


LISTS = {
    "BRIDGE_ENDPOINTS": _tables(
        name=st.sampled_from(('"oslo"', '"bergen"')),
        path=st.sampled_from(('"/oslo"', '"/bergen"')),
        secrets=st.lists(SECRETS, max_size=3).map(lambda found: f"[{','.join(found)}]") | SECRETS,
        allow_unsigned=st.sampled_from(("true", "false")),
        contexts=st.lists(strings(), max_size=3).map(lambda found: f"[{','.join(found)}]"),
        source=strings(),
    ),
    "BRIDGE_ROUTES": _tables(match=strings(), routing_key=strings(), exchange=strings()),
    "BRIDGE_QUEUES": _tables(name=strings(), bindings=values(), type=strings()),
    "BRIDGE_BROKER__URLS": st.lists(URLS, max_size=2).map(json.dumps)
    | st.lists(URLS | texts(), max_size=3).map(",".join),
    "BRIDGE_BROKER__PASSWORD": SECRETS | st.sampled_from((TOKEN, f"{{{TOKEN}}}", f'{{"{TOKEN}')),
}

PLAIN = st.one_of(
    json_texts.numbers(),
    header_values(),
    values(),
    unreadable(),
    st.sampled_from(("true", "info", "json", "declare", "quorum", "[1]", "{}")),
)

ENVIRONMENTS = st.builds(
    dict.__or__,
    st.dictionaries(NAMES.filter(lambda name: name not in LISTS), PLAIN, max_size=4),
    st.fixed_dictionaries({}, optional={name: texts | PLAIN for name, texts in LISTS.items()}),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a secret, an empty configuration, and one to write."""
    directory = tmp_path_factory.mktemp("settings")
    (directory / "secret").write_text(f"{TOKEN}\n")
    (directory / "empty.toml").touch()
    return directory


def shown(path: Path, environ: dict[str, str]) -> str:
    """Return all that anybody could print of a configuration, loaded or refused."""
    try:
        loaded = load(path, environ)
    except ConfigInvalid as error:
        invalid = error
    else:
        things = (loaded, loaded.settings, loaded.warnings, *loaded.settings.broker.safe_urls())
        return "".join(f"{thing!r}{thing}" for thing in things) + loaded.settings.model_dump_json()
    assert invalid.problems
    assert all(problem.key and problem.allowed for problem in invalid.problems)
    return "".join(traceback.format_exception(invalid)) + repr(invalid.problems)


@given(ENVIRONMENTS, st.sampled_from((TOKEN, f"{TOKEN}\udcff", f"{TOKEN}\n", None)))
@example({"BRIDGE_BROKER__PASSWORD": '{"env": "ABSENT"}'}, TOKEN)
def test_any_environment(directory, environ, secret):
    """Whatever the variables are, and wherever the secret stands among them."""
    environ = {name: text.replace("{directory}", str(directory)) for name, text in environ.items()}
    if secret is not None:
        environ |= dict.fromkeys(HOLDERS, secret)

    assert TOKEN not in shown(directory / "empty.toml", environ)


@given(
    st.fixed_dictionaries(
        {"SUPEROFFICE_SECRET": st.just(TOKEN)},
        optional={
            "BROKER_PASSWORD": st.just(TOKEN),
            "BRIDGE_BROKER__USERNAME": st.just("bridge"),
            "BRIDGE_BROKER__PASSWORD": st.sampled_from((TOKEN, '{"env": "SUPEROFFICE_SECRET"}')),
            "BRIDGE_BROKER__URLS": st.sampled_from(
                (f"amqp://u:{TOKEN}@a/,amqps://b/%2f?timeout=1", f'["amqp://:{TOKEN}@[::1]:1/v"]')
            ),
        },
    )
)
def test_what_is_loaded_hides_its_secrets(directory, environ):
    """A configuration that is right: the secrets are there, and none of them shows."""
    path = directory / "empty.toml"

    assert (TOKEN.encode(),) == load(path, environ).settings.endpoints[0].secret_keys
    assert TOKEN not in shown(path, environ)


TOML = st.builds(
    "{}\n{}\n".format,
    st.sampled_from(
        ("", "[server]", "[broker]", "[[endpoints]]", "[log]\nlevel=1", "endpoints", "[spool]")
    ),
    st.lists(
        st.builds(
            "{} = {}".format,
            st.sampled_from(("port", "urls", "secrets", "path", "name", "a.b", '"x y"', "broker")),
            SECRETS | strings() | json_texts.numbers() | values() | texts(),
        ),
        max_size=3,
    ).map("\n".join),
)


@given(TOML.map(str.encode) | st.binary(max_size=60))
def test_any_file(directory, content):
    """Whatever the bytes of the file are; without a secret it is never enough."""
    path = directory / "random.toml"
    path.write_bytes(content)

    assert TOKEN not in shown(path, {"SUPEROFFICE_SECRET": "other"})


@pytest.mark.parametrize(
    ("content", "environ"),
    [
        ("x = " + "[" * 100_000, {}),
        ("x = " + "{a=" * 100_000, {}),
        ("", {"BRIDGE_ROUTES": "[" * 100_000}),
        ("", {"BRIDGE_QUEUES": '[{"a":' * 50_000}),
        ("", {"BRIDGE_BROKER__PASSWORD": '{"a":' * 50_000 + "}"}),
    ],
    ids=["arrays", "tables", "json arrays", "json objects", "reference"],
)
def test_nesting_without_end_is_a_mistake_like_others(directory, content, environ):
    """What is too deep for a parser is reported, not thrown at the operator."""
    path = directory / "deep.toml"
    path.write_text(content)

    with pytest.raises(ConfigInvalid):
        load(path, {"SUPEROFFICE_SECRET": "s", **environ})


URI_PIECES = ("/", "//", ":", "?", "#", "%", "%2f", "[", "]", "@", "a", "1", "urn:x", "[::1]", "~")


@given(st.lists(st.sampled_from(URI_PIECES), min_size=1, max_size=4).map("".join))
def test_a_source_that_is_taken_is_a_uri_reference(directory, source):
    """CloudEvents wants the source to be one, and consumers may check."""
    endpoint = {"name": "oslo", "path": "/", "secrets": [{"env": "SECRET"}], "source": source}
    environ = {"BRIDGE_ENDPOINTS": json.dumps([endpoint]), "SECRET": "s"}
    try:
        load(directory / "empty.toml", environ)
    except ConfigInvalid:
        return

    assert URI_REFERENCE.fullmatch(source)
