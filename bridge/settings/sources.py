"""Reading the file and the environment; a mistake in either is reported, and the rest is read."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource

from bridge.core.encoding import UTF16, is_utf16, without_mark
from bridge.reading import read
from bridge.settings.keys import Names, field_at, is_list, probably, settable, table_at, unknown
from bridge.settings.model import Settings
from bridge.settings.report import Report

PREFIX = "BRIDGE_"
_LEVEL = "__"
_URLS = ("broker", "urls")
_SECRETS = (("broker", "password"), ("server", "admin_token"))
"""What a variable may hold itself, where the file has a reference."""

_BRACES = ' such as {"env": "NAME"}, or the secret without braces around it'


def read_file(path: Path, report: Report, *, optional: bool) -> dict[str, Any] | None:
    """Return what a TOML file says, or None, after reporting why, if it cannot be read."""
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


class Environment(EnvSettingsSource):
    """The BRIDGE_ variables of a mapping, which need not be this process's environment.

    What is wrong with a name, or as JSON, is reported, and then the variable is left out.
    """

    def __init__(self, environ: Mapping[str, str], report: Report) -> None:
        self.warnings: list[str] = []
        self._environ = environ
        self._report = report
        self._seen: dict[Names, str] = {}
        super().__init__(Settings, case_sensitive=False)

    def __call__(self) -> dict[str, Any]:
        """Return the values by section and key."""
        tree = super().__call__()
        for section, key in _SECRETS:
            reference = tree.get(section, {}).get(key)
            if isinstance(reference, str):
                tree[section][key] = json.loads(reference)
        return tree

    def _load_env_vars(self) -> Mapping[str, str | None]:
        """Take the place of the base class's reading of ``os.environ``."""
        ours = sorted(name for name in self._environ if name.upper().startswith(PREFIX))
        return {key.lower(): text for name in ours for key, text in self._usable(name)}

    def _usable(self, name: str) -> Iterator[tuple[str, str]]:
        path = tuple(name[len(PREFIX) :].lower().split(_LEVEL))
        rival = next((other for at, other in self._seen.items() if _clash(path, at)), None)
        if path not in settable():
            self._refuse(name, path)
        elif rival:
            self._report.add(path, f"set once; {rival} sets it too", source=name)
        else:
            self._seen[path] = name
            self._report.set_by(path[:2], name)
            self._report.set_by(path, name)
            yield from self._read(path, name)

    def _refuse(self, name: str, path: Names) -> None:
        if len(path) > 1:
            self._report.add(path, _why_unknown(path), source=name)
        else:
            known = [_variable(path) for path in settable()]
            meant = probably(name.upper(), known, likeness=0.9)
            self.warnings.append(f"{name} sets nothing and is ignored{meant}")

    def _read(self, path: Names, name: str) -> Iterator[tuple[str, str]]:
        """Yield the variables that the base class should see in place of this one."""
        text = self._environ[name]
        if path in _SECRETS and not _is_reference(text):
            yield _variable((*path, "env")), name
        elif path == _URLS and not text.lstrip().startswith("["):
            urls = (url.strip() for url in text.split(","))
            yield _variable(path), json.dumps([url for url in urls if url])
        elif path in _SECRETS or _holds_list(path):
            yield from self._json(path, text)
        else:
            yield _variable(path), text

    def _json(self, path: Names, text: str) -> Iterator[tuple[str, str]]:
        try:
            json.loads(text)
        except ValueError as error:
            hint = _BRACES if path in _SECRETS else ""
            self._report.add(path, f"JSON{hint}; {error}")
        except RecursionError:
            self._report.add(path, "JSON that is not nested so deeply")
        else:
            yield _variable(path), text


def _variable(path: Names) -> str:
    return PREFIX + _LEVEL.join(path).upper()


def _clash(one: Names, other: Names) -> bool:
    """Tell whether both set the same place, or one of them a part of the other's."""
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
