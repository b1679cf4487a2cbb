"""Reading the file and the environment. A mistake is reported, and the rest is read anyway."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.core.encoding import UTF16, is_utf16, without_mark
from bridge.reading import read
from bridge.settings.keys import Names, field_at, is_list, probably, settable, table_at, unknown
from bridge.settings.report import Report

PREFIX = "BRIDGE_"
_LEVEL = "__"
_URLS = ("broker", "urls")
_SECRETS = (("broker", "password"), ("server", "admin_token"))
"""Secrets that a variable may hold itself, where the file has a reference."""

_BRACES = ' such as {"env": "NAME"}, or the secret without braces around it'


def read_file(path: Path, report: Report, *, optional: bool) -> dict[str, Any] | None:
    """Return the values in a TOML file, or report why it cannot be read and return None."""
    report.files.append(path)
    try:
        content = without_mark(read(path))
        if is_utf16(content):
            report.add(("file",), f"valid TOML, which is {UTF16}")
            return None
        return tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        reason, position = _split_position(str(error))
        report.add((position,), f"valid TOML; {reason}")
    except UnicodeDecodeError as error:
        report.add((f"byte {error.start + 1}",), "valid TOML, which is UTF-8")
    except RecursionError:
        report.add(("file",), "TOML that is not nested so deeply")
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError):
            return {}
        report.add(("file",), f"a file that can be read; {error.strerror}")
    return None


def _split_position(message: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.*) \(at (.*)\)", message, re.DOTALL)
    return (found[1], found[2]) if found else (message, "syntax")


def read_environment(environ: Mapping[str, str], report: Report) -> dict[str, Any]:
    """Return the values of the ``BRIDGE_`` variables, by section and key.

    A variable with a wrong name or with broken JSON is reported and left out.
    """
    tree: dict[str, Any] = {}
    for path, name in _usable(environ, report):
        value = _value(path, name, environ[name], report)
        if value is not None:
            _put(tree, path, value)
    return tree


def _usable(environ: Mapping[str, str], report: Report) -> Iterator[tuple[Names, str]]:
    """Yield each variable that sets a key, and make it the source of problems with the value."""
    seen: dict[Names, str] = {}
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        path = tuple(name[len(PREFIX) :].lower().split(_LEVEL))
        rival = next((other for at, other in seen.items() if _clash(path, at)), None)
        if path not in settable():
            _report_unknown(path, name, report)
        elif rival:
            report.add(path, f"set once; {rival} sets it too", source=name)
        else:
            seen[path] = name
            report.set_by(path[:2], name)
            report.set_by(path, name)
            yield path, name


def _report_unknown(path: Names, name: str, report: Report) -> None:
    if len(path) > 1:
        report.add(path, _why_unknown(path), source=name)
    else:  # the variable may belong to another program, so this is only a warning
        known = [_variable(path) for path in settable()]
        meant = probably(name.upper(), known, likeness=0.9)
        report.warnings.append(f"{name} sets nothing and is ignored{meant}")


def _value(path: Names, name: str, text: str, report: Report) -> Any:
    """Return the value of a variable in the form that the file would have it."""
    if path in _SECRETS and not _is_reference(text):
        return {"env": name}
    if path == _URLS and not text.lstrip().startswith("["):
        urls = (url.strip() for url in text.split(","))
        return [url for url in urls if url]
    if path in _SECRETS or _holds_list(path):
        return _json(path, text, report)
    return text


def _json(path: Names, text: str, report: Report) -> Any:
    """Return the value; None for ``null``, which sets nothing, and for broken JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        hint = _BRACES if path in _SECRETS else ""
        report.add(path, f"JSON{hint}; {error}")
    except RecursionError:
        report.add(path, "JSON that is not nested so deeply")
    return None


def _put(tree: dict[str, Any], path: Names, value: Any) -> None:
    *tables, key = path
    for table in tables:
        tree = tree.setdefault(table, {})
    tree[key] = value


def _variable(path: Names) -> str:
    return PREFIX + _LEVEL.join(path).upper()


def _clash(one: Names, other: Names) -> bool:
    """Return whether both set the same place, or one sets a part of the other's."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _is_reference(text: str) -> bool:
    return text.startswith("{") and text.endswith("}")


def _holds_list(path: Names) -> bool:
    field = field_at(path)
    return field is not None and is_list(field)


def _why_unknown(path: Names) -> str:
    levels = (path[:end] for end in range(1, len(path) + 1))
    wrong = next((at for at in levels if _holds_list(at) or field_at(at) is None), path)
    if _holds_list(wrong):
        return f"a list is set whole, as JSON, in {_variable(wrong)}"
    table = table_at(wrong[:-1])
    return unknown(wrong[-1], table.model_fields if table else ())
