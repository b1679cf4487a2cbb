"""What is compiled keeps the rules that make it do the same as its source (docs/decisions/0033)."""

import ast
import tomllib
from collections import defaultdict
from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from bridge.build import build
from tests.test_imports import PACKAGE

ROOT = PACKAGE.parent

MODULES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["bridge"]["compiled"]

SUSPENDS = (
    ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom,
)  # fmt: skip
"""A compiled coroutine that was cancelled has ended the process with a segmentation fault."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def suspensions(tree):
    """Yield each coroutine and generator, and where they wait."""
    for node in ast.walk(tree):
        is_async = isinstance(node, ast.comprehension) and node.is_async
        if is_async or isinstance(node, SUSPENDS):
            yield f"{type(node).__name__} is a coroutine's or a generator's"


def retyped_errors(tree):
    """Yield each name that two handlers of a function give to errors of different types.

    Compiled it has the type of the first: the second handler raises a TypeError.
    """
    for function in ast.walk(tree):
        if isinstance(function, FUNCTIONS):
            caught = defaultdict(set)
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    caught[node.name].add(ast.unparse(node.type))
            for name, types in caught.items():
                if len(types) > 1:
                    yield f"{function.name} gives {name} to {sorted(types)}"


def recursions(tree):
    """Yield each function that calls itself: compiled, no limit stops it before the stack ends."""
    for function in ast.walk(tree):
        if isinstance(function, FUNCTIONS):
            for node in ast.walk(function):
                itself = (function.name, f"self.{function.name}", f"cls.{function.name}")
                if isinstance(node, ast.Call) and ast.unparse(node.func) in itself:
                    yield f"{function.name} calls itself"


def changes_of_case(tree):
    """Yield each ``text.lower()``: compiled it has no final sigma. ``str.lower(text)`` has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", None)
            if node.func.attr in ("lower", "upper") and owner != "str":
                yield f"{ast.unparse(node)} is not str.{node.func.attr}"


RULES = (suspensions, retyped_errors, recursions, changes_of_case)

BROKEN = {
    "async def f(): pass": "AsyncFunctionDef is a coroutine's or a generator's",
    "def f(): yield 1": "Yield is a coroutine's or a generator's",
    "def f(): yield from ()": "YieldFrom is a coroutine's or a generator's",
    "[x async for x in y]": "comprehension is a coroutine's or a generator's",
    """
def f():
    try: pass
    except KeyError as error: pass
    except OSError as error: pass
""": "f gives error to ['KeyError', 'OSError']",
    "def f(): return f()": "f calls itself",
    "class A:\n def f(self): self.f()": "f calls itself",
    "name.lower()": "name.lower() is not str.lower",
    "'a'.join(b).upper()": "'a'.join(b).upper() is not str.upper",
}

RIGHT = """
def f(text):
    try: other.f(); text.strip().f()
    except KeyError as error: pass
    try: g(x for x in str.lower(text))
    except KeyError as error: pass
def h():
    try: g()
    except OSError as error: pass
"""


def broken(source):
    """Return what is wrong with a source."""
    tree = ast.parse(source)
    return [fault for rule in RULES for fault in rule(tree)]


@pytest.mark.parametrize("source", BROKEN, ids=BROKEN.values())
def test_each_rule_finds_what_breaks_it(source):
    """A check that finds nothing would let everything through."""
    assert [BROKEN[source]] == broken(source)


def test_what_keeps_the_rules_is_not_suspected():
    """Errors of one type, errors in two functions, and calls of others are right."""
    assert [] == broken(RIGHT)


@pytest.mark.parametrize("module", MODULES)
def test_compiled_modules_keep_the_rules(module):
    """They have nothing that is known to go wrong when it is compiled."""
    assert [] == broken((ROOT / module).read_text())


def test_nothing_compiled_is_older_than_its_source():
    """Python would run the old one: `make compiled` again, or `make interpreted`."""
    found = [mtime(path) for path in PACKAGE.rglob("*.so")]
    latest = max(mtime(ROOT / module) for module in MODULES)

    assert [] == [time for time in found if time < latest]


def mtime(path):
    """Return when a file was changed."""
    return path.stat().st_mtime


def test_all_is_compiled_or_nothing():
    """The build that the bridge tells is the one of every module that is listed."""
    ending = EXTENSION_SUFFIXES[0]
    found = {path for path in MODULES if (ROOT / path.replace(".py", ending)).exists()}

    assert (set(MODULES) if build() == "compiled" else set()) == found
