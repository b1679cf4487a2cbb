"""The broker's password and the token of the admin listener: where they come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.support import SECRET, places, problems_of, settings_of, table

HIDDEN = "hunter2"


def password_of(path: Path, environ: dict[str, str]) -> bytes | None:
    """Return the configured password of the broker."""
    password = settings_of(path, SECRET | environ).broker.password
    return password.get_secret_value() if password else None


@pytest.mark.parametrize(
    ("written", "environ", "password"),
    [
        (None, {}, None),
        (None, {"BROKER_PASSWORD": "b"}, b"b"),
        ('{ env = "X" }', {"X": "x", "BROKER_PASSWORD": "b"}, b"x"),
        ('{ env = "X", default = "d" }', {}, b"d"),
        ('{ env = "X", default = "d" }', {"X": "x"}, b"x"),
        ('{ env = "X", optional = true }', {}, None),
        ('{ env = "X" }', {"BRIDGE_BROKER__PASSWORD": "plain"}, b"plain"),
        ('{ env = "X" }', {"BRIDGE_BROKER__PASSWORD": "{p"}, b"{p"),
        ('{ env = "X" }', {"BRIDGE_BROKER__PASSWORD": '{"env": "Y"}', "Y": "y"}, b"y"),
        ('{ file = "/x" }', {"BRIDGE_BROKER__PASSWORD__ENV": "Y", "Y": "y"}, b"y"),
        (None, {"BRIDGE_BROKER__PASSWORD": "plain", "BROKER_PASSWORD": "b"}, b"plain"),
        (
            None,
            {
                "BRIDGE_BROKER__PASSWORD__FILE": "/nonexistent/x",
                "BRIDGE_BROKER__PASSWORD__OPTIONAL": "true",
            },
            None,
        ),
    ],
)
def test_where_the_password_of_the_broker_comes_from(
    path: Path, written: str | None, environ: dict[str, str], password: bytes | None
) -> None:
    """A variable replaces the reference whole; BROKER_PASSWORD counts if there is none."""
    path.write_text(table("broker", password=written) if written else "")

    assert password == password_of(path, environ)


@pytest.mark.parametrize(
    ("environ", "source"),
    [
        ({"BROKER_PASSWORD": ""}, "BROKER_PASSWORD"),
        ({"BRIDGE_BROKER__PASSWORD": ""}, "BRIDGE_BROKER__PASSWORD"),
        ({"BRIDGE_BROKER__PASSWORD": "{hunter2}"}, "BRIDGE_BROKER__PASSWORD"),
        ({"BRIDGE_BROKER__PASSWORD": "{}"}, "BRIDGE_BROKER__PASSWORD"),
        ({"BRIDGE_BROKER__PASSWORD__ENV": "X"}, "BRIDGE_BROKER__PASSWORD__ENV"),
        ({"BRIDGE_BROKER__PASSWORD__DEFAULT": "d"}, "BRIDGE_BROKER__PASSWORD__DEFAULT"),
    ],
)
def test_a_password_that_cannot_be_had_is_refused(
    path: Path, environ: dict[str, str], source: str
) -> None:
    """Empty, absent or malformed: the variable that set it is named."""
    (problem,) = problems_of(path, SECRET | environ)

    assert (source, "broker.password") == (problem.source, problem.key)
    assert HIDDEN not in problem.allowed


def test_each_part_of_a_reference_has_its_variable(path: Path) -> None:
    """Of several variables that make a reference, the one with the mistake is named."""
    reference = {"BRIDGE_BROKER__PASSWORD__ENV": "", "BRIDGE_BROKER__PASSWORD__OPTIONAL": "true"}

    assert [("BRIDGE_BROKER__PASSWORD__ENV", "broker.password.env")] == places(
        problems_of(path, SECRET | reference)
    )


def test_a_password_does_not_stand_in_the_file(path: Path) -> None:
    """A plain string is refused there, and not repeated."""
    path.write_text(table("broker", password=f'"{HIDDEN}"'))
    (problem,) = problems_of(path)

    assert "never the password itself" in problem.allowed


def test_the_admin_token_is_a_secret_like_the_password(path: Path, secret_file: Path) -> None:
    """It comes from a file, from a variable, or as the value of its own variable; or not at all."""
    secret_file.write_text("from-a-file\n")
    variable = "BRIDGE_SERVER__ADMIN_TOKEN"
    ways = [
        {f"{variable}__FILE": str(secret_file)},
        {variable: f'{{"file": "{secret_file}"}}'},
        {variable: "itself"},
        {},
    ]
    tokens = [settings_of(path, SECRET | way).server.admin_token for way in ways]

    assert [b"from-a-file", b"from-a-file", b"itself", None] == [
        token and token.get_secret_value() for token in tokens
    ]


@pytest.mark.parametrize("token", ["", "two words", "line\n", "blåbær"])
def test_a_token_that_no_header_carries_is_refused(path: Path, token: str) -> None:
    """At the start, not with the first request that cannot succeed."""
    [problem] = problems_of(path, SECRET | {"BRIDGE_SERVER__ADMIN_TOKEN": token})

    assert "server.admin_token" == problem.key
    assert not token or token not in str(problem)
