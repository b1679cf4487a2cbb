"""Reading the code of the bridge: what it passes to the calls that a document lists."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.project.docs.documents import ROOT

PACKAGE = ROOT / "bridge"


@cache
def tree(path: Path) -> ast.Module:
    """Return the parsed source of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(name: str, *modules: str) -> Iterator[ast.Call]:
    """Yield the calls of a name in the given modules, paths below the package."""
    for module in modules:
        for node in ast.walk(tree(PACKAGE / module)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield node


def texts(node: ast.expr) -> set[str]:
    """Return the texts that an expression is made of, such as both sides of a condition."""
    found = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return {value for value in found if isinstance(value, str)}


def first_texts(name: str, *modules: str) -> set[str]:
    """Return all texts that are given to a name as its first argument."""
    return {text for call in calls(name, *modules) for text in texts(call.args[0])}
