"""Every command that a document names is one that `bridge` or `make` takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from bridge.cli.app import app
from tests.project.docs.documents import PAGES, ROOT, blocks, spans

WORDS = {"EVENT_ID": "0b7e5b0c", "URL": "https://hooks.example.com/webhook"}
"""What stands for a word of the reader's own."""


def lines() -> Iterator[str]:
    """Yield every line of shell code, and every piece of code within a text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in [*blocks(text, "sh"), *blocks(text, "console")]:
            yield from block.replace("\\\n", " ").splitlines()
        yield from spans(text)


def commands(program: str) -> list[str]:
    """Return what comes after the name of a program, wherever it is installed or runs."""
    called = rf"^(?:\S+=\S+ )*(?:docker compose exec bridge |\S*/)?{program} (.+)$"
    found = (re.match(called, line.strip()) for line in lines())
    return sorted({match[1] for match in found if match})


def parse(line: str) -> None:
    """Parse a line as ``bridge`` would, down to the last subcommand, and run nothing.

    A command's name alone is enough: a text may speak of it without its arguments.
    """
    command: Any = typer.main.get_command(app)
    context, rest = None, words(line)
    while rest and hasattr(command, "resolve_command"):
        context = command.make_context(command.name, rest, parent=context)
        _, command, rest = command.resolve_command(context, rest)
    if rest:
        command.make_context(command.name, rest, parent=context)


def words(line: str) -> list[str]:
    """Split a line as a shell does, up to a comment, a pipe or a redirection."""
    split = [WORDS.get(word, word) for word in shlex.split(line, comments=True)]
    end = (n for n, word in enumerate(split) if word in ("...", "|", ">", "&&"))
    return split[: next(end, None)]


@pytest.mark.parametrize("line", commands("bridge"))
def test_a_command_of_the_documents_parses(line: str) -> None:
    """The real parser takes it: command, options, and arguments if there are any."""
    parse(line)


@pytest.mark.parametrize(
    "line", ["sned contact.created", "parked replay --ever", "parked show --json", "send a b"]
)
def test_a_wrong_command_does_not_parse(line: str) -> None:
    """The parser of the test above is not content with anything."""
    with pytest.raises(Exception, match=r"No such|Missing|unexpected"):
        parse(line)


def test_commands_are_found() -> None:
    """The documents name every command that an operator needs."""
    named = {tuple(words(line)[:2]) for line in commands("bridge")}

    assert {("topology", "show"), ("parked", "replay"), ("spool", "status")} <= named


def test_targets_of_make_exist() -> None:
    """Each target that is named has its rule."""
    rules = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = {word for line in commands("make") for word in words(line)[:1]}

    assert named <= set(rules)
