"""docs/reference/log.md lists every action that the code logs."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator

import structlog

from bridge import log
from tests.project.docs.documents import blocks, document, section, spans
from tests.project.docs.source import PACKAGE, texts, tree

PAGE = "reference/log.md"
LEVELS = ("debug", "info", "warning", "error", "critical", "exception")
LOGGERS = ("log", "self._log", "structlog.get_logger()")

LISTED = re.compile(r"- `(?P<action>\w+)` \((?P<levels>[a-z ]+)(; (?P<fields>[^)]+))?\): \S.*")

Record = tuple[str, str, frozenset[str]]
"""Action, level and fields."""


def logged() -> Iterator[Record]:
    """Yield what every call of a logger in the bridge logs."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logger, level = ast.unparse(node.func.value), node.func.attr
                if logger in LOGGERS and level in LEVELS:
                    fields = frozenset(_field(keyword) for keyword in node.keywords)
                    yield from ((action, level, fields) for action in texts(node.args[0]))


def _field(keyword: ast.keyword) -> str:
    assert keyword.arg is not None, "a logger's fields are spelled out"
    return "exception" if keyword.arg == "exc_info" else keyword.arg


def listed() -> Iterator[Record]:
    """Yield what the lists of the page have: ``- `action` (level; `field`, `field`): meaning``."""
    _, *parts = document(PAGE).split("\n## ")
    for line in re.findall(r"^- .+$", "\n".join(parts), flags=re.MULTILINE):
        found = LISTED.fullmatch(line)
        assert found, line
        fields = frozenset(spans(found["fields"] or ""))
        yield from ((found["action"], level, fields) for level in found["levels"].split(" or "))


def test_every_action_is_listed() -> None:
    """The lists have each action once, with its level and fields, and no other."""
    assert sorted(set(logged()), key=str) == sorted(listed(), key=str)


def test_the_example_has_the_form_of_a_record() -> None:
    """The bridge writes the record of the example, but for the time, byte by byte."""
    [line] = blocks(document(PAGE), "json")
    example = json.loads(line)
    stream = io.StringIO()
    log.configure(level="debug", format="json", stream=stream)
    first = re.findall(r"^- `(\w+)`", section(PAGE, "Log"), flags=re.MULTILINE)
    fields = {name: value for name, value in example.items() if name not in first}
    structlog.get_logger().warning(example["action"], **fields)
    written = stream.getvalue()

    assert first == list(example)[:3]
    time = json.loads(written)["timestamp"]
    assert line == written.replace(time, example["timestamp"])
    assert len(time) == len(example["timestamp"])


def test_the_levels_are_those_of_the_configuration() -> None:
    """A record has one of the levels that can be configured."""
    [levels] = re.findall(r"^- `level`: (.+)$", section(PAGE, "Log"), flags=re.MULTILINE)

    assert list(log._LEVELS) == spans(levels)
