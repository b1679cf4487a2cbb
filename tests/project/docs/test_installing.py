"""What is said about installing: nothing has the bridge but its repository."""

import re
from pathlib import Path

import pytest

from tests.project.docs.documents import ROOT

NAMED = re.compile(
    r"""
    superoffice-bridge \s* (?: \[ \w | [=~<>!]= )  # a requirement
    | \b(?: pip[x3]? | uvx? | poetry | conda | npm | npx | yarn | easy_install )\b
      [^\n`'"|]* \s superoffice[-_]bridge \b (?! [/.]\w)  # a command that asks an index for it
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""A package of our name on an index that is not ours: whoever takes the name would be run."""


FOLDERS = ("bridge", "docs", "config", "bench", "tests", "requirements", ".ci")

FOREIGN = {"node_modules", "__pycache__", "var"}


def texts():
    """Yield each text of the repository by its path."""
    files = [*ROOT.glob("*"), *(path for each in FOLDERS for path in (ROOT / each).rglob("*"))]
    for path in files:
        name = path.relative_to(ROOT)
        if path.is_file() and FOREIGN.isdisjoint(name.parts) and path != Path(__file__):
            yield f"{name}", path.read_text(encoding="utf-8", errors="replace")


def test_nobody_is_told_to_install_it_from_an_index():
    """Commands and messages name an image, a checkout or a lock file."""
    found = {name: NAMED.search(text) for name, text in texts()}

    assert {"README.md", "Dockerfile", "bridge/settings/checks.py"} <= found.keys()
    assert {} == {name: match[0] for name, match in found.items() if match}


@pytest.mark.parametrize(
    "text",
    [
        "pip install superoffice-bridge[otel]",
        "pip install 'superoffice-bridge[otel]'",
        "pipx run superoffice-bridge",
        "uvx superoffice-bridge serve",
        "uv tool install superoffice_bridge",
        "python -m pip install --upgrade superoffice-bridge",
        "superoffice-bridge==0.1.0",
        "npm install superoffice-bridge",
    ],
)
def test_such_texts_are_found(text):
    """Whatever the tool and its options."""
    assert NAMED.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "/usr/local/lib/superoffice-bridge/bin/pip install -r requirements/runtime.lock",
        ".venv/bin/pip install --require-hashes -r requirements/otel.lock",
        "install --directory /etc/superoffice-bridge",
        "#   superoffice-bridge (pyproject.toml)",
    ],
)
def test_others_are_not(text):
    """What is installed from a checkout, and what only looks like it."""
    assert not NAMED.search(text)
