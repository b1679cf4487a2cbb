"""Secrets: where they come from, and what is taken off them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.settings import load
from tests.settings.support import SECRET, places, problems_of, settings_of, table

HIDDEN = "hunter2"


def keys_of(path: Path, environ: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return the keys of the first endpoint."""
    return settings_of(path, environ).endpoints[0].secret_keys


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", b"s3cret"),
        (b"s3cret\n", b"s3cret"),
        (b"s3cret\r\n", b"s3cret"),
        (b"s3cret\n\n", b"s3cret\n"),
        (b"s3cret\r\n\r\n", b"s3cret\r\n"),
        (b"s3cret\r", b"s3cret\r"),
        (b" s3cret \t\n", b" s3cret \t"),
        (b"\ns3cret", b"\ns3cret"),
        (b"\xef\xbb\xbf\xff\n", b"\xef\xbb\xbf\xff"),
        (b"\xef\xbb\xbfs3cret\r\n", b"s3cret"),
        ("\N{ZERO WIDTH NO-BREAK SPACE}".encode() * 2 + b"x", b"\xef\xbb\xbfx"),
        (b"\xff\xfes", b"\xff\xfes"),
        (b"s\0\0t", b"s\0\0t"),
    ],
)
def test_one_trailing_newline_of_a_file_is_dropped(
    path: Path, secret_file: Path, content: bytes, secret: bytes
) -> None:
    """Exactly one, as editors add it, and nothing else is trimmed."""
    secret_file.write_bytes(content)

    assert (secret,) == keys_of(path, {"SUPEROFFICE_SECRET_FILE": str(secret_file)})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "key", ["SUPEROFFICE_SECRET_FILE", "BROKER__PASSWORD", "SERVER__ADMIN_TOKEN"]
)
def test_a_file_in_utf16_says_what_to_do(
    path: Path, secret_file: Path, encoding: str, key: str
) -> None:
    """A secret of PowerShell's own encoding would be another one, and every request refused."""
    secret_file.write_bytes(f"{HIDDEN}\r\n".encode(encoding))
    reference = json.dumps({"file": str(secret_file)})
    own = key.startswith("SUPEROFFICE")
    environ = {key: str(secret_file)} if own else SECRET | {f"BRIDGE_{key}": reference}
    [problem] = problems_of(path, environ)

    assert str(secret_file) == problem.source
    assert "save it again as UTF-8" in problem.allowed
    assert HIDDEN not in str(problem)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("s3cret\n", b"s3cret\n"),
        (" ", b" "),
        ("blåbær", "blåbær".encode()),
        ("\udcff", b"\xff"),
        ('{"env": "X"}', b'{"env": "X"}'),
    ],
)
def test_a_variable_is_taken_literally(path: Path, text: str, secret: bytes) -> None:
    """Its bytes are the key, whatever they are."""
    assert (secret,) == keys_of(path, {"SUPEROFFICE_SECRET": text})


def test_there_is_one_endpoint_without_any(path: Path) -> None:
    """The conventional endpoint has a conventional name and path."""
    (endpoint,) = settings_of(path).endpoints

    assert ("superoffice", "/webhook", False) == (
        endpoint.name,
        endpoint.path,
        endpoint.allow_unsigned,
    )


@pytest.mark.parametrize("text", ["", "endpoints = []\n", "[broker]\n"])
@pytest.mark.parametrize("both", [True, False])
def test_the_conventional_endpoint_needs_one_secret(path: Path, text: str, both: bool) -> None:
    """Neither variable, or both of them, refuses to start and says what to set."""
    path.write_text(text)
    names = ("SUPEROFFICE_SECRET", "SUPEROFFICE_SECRET_FILE")
    (problem,) = problems_of(path, dict.fromkeys(names, "x") if both else {})

    assert "endpoints[0].secrets" == problem.key
    assert all(name in problem.allowed for name in names)


def test_several_secrets_keep_their_order(path: Path, secret_file: Path) -> None:
    """Each may sign; an optional one that is absent is left out."""
    secret_file.write_text("old")
    path.write_text(
        table(
            "endpoints",
            secrets='[{ env = "NEW" }, { file = "/nonexistent/x", optional = true },'
            f' {{ env = "NONE", optional = true }}, {{ file = "{secret_file}" }}]',
        )
    )

    assert (b"new", b"old") == keys_of(path, {"NEW": "new"})


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ('{ env = "X" }', "set the environment variable X"),
        ('{ file = "/nonexistent/x" }', "there is no /nonexistent/x"),
        ('{ file = "/" }', "/: Is a directory"),
        ('{ file = "/", optional = true }', "/: Is a directory"),
        ('{ env = "X", file = "/x" }', "only one of them"),
        ("{}", "either env or file"),
        ('{ env = "" }', "not empty"),
        ('{ env = "EMPTY", optional = 2 }', "true or false"),
        (f'"{HIDDEN}"', "never the secret itself"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(path: Path, reference: str, words: str) -> None:
    """What is absent, unreadable or not a reference is named with its place in the list."""
    path.write_text(table("endpoints", secrets=f'[{{ env = "OK" }}, {reference}]'))
    (problem,) = problems_of(path, {"OK": "ok"})

    assert str(path) == problem.source
    assert problem.key.startswith("endpoints[0].secrets[1]")
    assert words in problem.allowed


def test_a_variable_of_the_file_convention_is_not_overlooked(path: Path) -> None:
    """If X is absent but X_FILE is set, the message says how to have the file read."""
    path.write_text(table("endpoints", secrets='[{ env = "X" }]'))
    (problem,) = problems_of(path, {"X_FILE": "/run/secrets/x"})

    assert "X_FILE is set" in problem.allowed


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_file_is_refused(path: Path, secret_file: Path, content: bytes) -> None:
    """Also where it is optional: a secret that is there must be one."""
    secret_file.write_bytes(content)
    path.write_text(table("endpoints", secrets=f'[{{ file = "{secret_file}", optional = true }}]'))

    assert [(str(secret_file), "endpoints[0].secrets[0]")] == places(problems_of(path, {}))


@pytest.mark.parametrize("optional", ["true", "false"])
def test_an_empty_variable_is_refused(path: Path, optional: str) -> None:
    """The variable is to blame, not the reference to it."""
    path.write_text(table("endpoints", secrets=f'[{{ env = "X", optional = {optional} }}]'))

    assert [("X", "endpoints[0].secrets[0]")] == places(problems_of(path, {"X": ""}))


def test_a_default_is_not_for_secrets_that_sign(path: Path) -> None:
    """A secret that stands in the file for all to read would authenticate nobody."""
    path.write_text(table("endpoints", secrets=f'[{{ env = "X", default = "{HIDDEN}" }}]'))

    assert [(str(path), "endpoints[0].secrets[0].default")] == places(problems_of(path, {}))


@pytest.mark.parametrize(
    ("secrets", "key"),
    [
        ("[]", "endpoints[0].secrets"),
        ('[{ env = "X", optional = true }]', "endpoints[0].secrets"),
    ],
)
def test_no_secret_at_all_refuses_to_start(path: Path, secrets: str, key: str) -> None:
    """Whether none is listed or all are optional and absent."""
    path.write_text(table("endpoints", secrets=secrets))

    assert [(str(path), key)] == places(problems_of(path, {}))


def test_unsigned_requests_must_be_asked_for(path: Path) -> None:
    """With allow_unsigned and no secrets there is nothing to verify with."""
    path.write_text(table("endpoints", secrets="[]", allow_unsigned="true"))

    assert () == keys_of(path, {})


@pytest.mark.parametrize("environ", [SECRET, {}])
def test_unsigned_and_secrets_contradict(path: Path, environ: dict[str, str]) -> None:
    """A secret beside allow_unsigned would protect nothing, also an optional one."""
    secrets = '[{ env = "SUPEROFFICE_SECRET", optional = true }]'
    path.write_text(table("endpoints", secrets=secrets, allow_unsigned="true"))

    assert (str(path), "endpoints[0].allow_unsigned") in places(problems_of(path, environ))


def test_equal_secrets_are_equal(path: Path) -> None:
    """Settings can be compared, and a changed secret makes a difference."""
    assert settings_of(path) == settings_of(path)
    assert settings_of(path) != settings_of(path, {"SUPEROFFICE_SECRET": "other"})


@pytest.mark.parametrize("secret", ["s3cret\n", "\ts3cret", " s3cret", "s3cret\t\n\n"])
def test_white_space_around_a_secret_is_pointed_out(
    path: Path, secret_file: Path, secret: str
) -> None:
    """It counts, but is mostly a newline by mistake: then every request would be rejected."""
    secret_file.write_text(f"{secret}\n", newline="")
    by_variable = load(path, {"SUPEROFFICE_SECRET": secret})
    by_file = load(path, {"SUPEROFFICE_SECRET_FILE": str(secret_file)})

    for loaded in (by_variable, by_file):
        [warning] = loaded.warnings
        assert "endpoints[0].secrets[0]: the secret begins or ends with white space" in warning
        assert "s3cret" not in warning
    assert not load(path, {"SUPEROFFICE_SECRET": "s3 cret"}).warnings
