"""Replacing references to secrets by the secrets, before the model validates the values."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretBytes, ValidationError

from bridge.core.encoding import UTF16, is_utf16, without_mark
from bridge.reading import read
from bridge.settings.keys import Loc, tables
from bridge.settings.model import PasswordRef, SecretRef
from bridge.settings.report import Report

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
_PATH = re.compile(r"[\w.~@ -]*(?:/[\w.~@ -]+)+")
"""A path that can be shown: with a directory, and without + and =, which base64 has."""


_PADDED = "the secret begins or ends with white space, which counts: see where it is written"


class _Unusable(Exception):
    """A reference gives no usable secret; ``source`` is the variable or file to blame, if any."""

    def __init__(self, allowed: str, *, source: str | None = None) -> None:
        super().__init__(allowed)
        self.source = source


class _Absent(_Unusable):
    """The secret is not on this machine, but may be on another."""


class Resolver:
    """Replaces the references in a tree of values by the secrets.

    ``stand_in`` replaces those to secrets that are not on this machine.
    """

    def __init__(
        self, environ: Mapping[str, str], report: Report, *, stand_in: SecretBytes | None = None
    ) -> None:
        self._environ = environ
        self._report = report
        self._stand_in = stand_in

    def resolve(self, tree: dict[str, Any]) -> None:
        """Resolve every reference in the tree; what cannot be resolved is reported."""
        for index, endpoint in tables(tree.get("endpoints")):
            if isinstance(endpoint.get("secrets"), list):
                self._endpoint(endpoint, ("endpoints", index, "secrets"))
        self._single(tree, ("broker", "password"), PasswordRef)
        self._single(tree, ("server", "admin_token"), SecretRef)

    def _single(self, tree: dict[str, Any], place: tuple[str, str], form: type[SecretRef]) -> None:
        section, key = place
        table = tree.get(section)
        if isinstance(table, dict) and table.get(key) is not None:
            table[key] = self._secret(table[key], form, place)

    def _endpoint(self, endpoint: dict[str, Any], place: Loc) -> None:
        references, before = endpoint["secrets"], len(self._report.problems)
        found = [self._secret(ref, SecretRef, (*place, i)) for i, ref in enumerate(references)]
        endpoint["secrets"] = [secret for secret in found if secret is not None]
        if references and not endpoint["secrets"] and before == len(self._report.problems):
            if self._stand_in is not None:
                endpoint["secrets"] = [self._stand_in]
                return
            self._report.add(place, "at least one secret that exists; these are all absent")

    def _secret(self, value: object, form: type[SecretRef], place: Loc) -> SecretBytes | None:
        try:
            reference = form.model_validate(value)
            if reference.file:
                self._report.files.append(Path(reference.file))
            found = _resolve(reference, self._environ)
            if found is not None and _is_padded(found.get_secret_value()):
                self._report.warn(place, _PADDED)
            return found
        except ValidationError as error:
            self._report.add_errors(error, at=place)
        except _Unusable as error:
            if self._stand_in is not None and isinstance(error, _Absent):
                return self._stand_in
            self._report.add(place, str(error), source=error.source)
        return None


def _resolve(reference: SecretRef, environ: Mapping[str, str]) -> SecretBytes | None:
    if (reference.env is None) == (reference.file is None):
        raise _Unusable("either env or file, and only one of them")
    found = _from_file(reference.file) if reference.file else _from_variable(reference.env, environ)
    if found == b"":
        raise _Unusable("a secret that is not empty", source=reference.env or reference.file)
    if found is not None:
        return SecretBytes(found)
    if isinstance(reference, PasswordRef) and reference.default:
        return reference.default
    if reference.optional:
        return None
    raise _Absent(_absent(reference, environ))


def _from_variable(name: str | None, environ: Mapping[str, str]) -> bytes | None:
    text = environ.get(name or "")
    # A variable that is not UTF-8 was read with surrogates: this restores its bytes.
    return None if text is None else text.encode("utf-8", "surrogateescape")


def _from_file(name: str) -> bytes | None:
    """Return the content without what editors add: a byte order mark, and one newline."""
    try:
        content = read(Path(name))
    except FileNotFoundError:
        return None
    except OSError as error:
        shown = _shown_file(name) if error.errno == errno.ENAMETOOLONG else name
        reason = f"a file that can be read; {shown}: {error.strerror}"
        raise _Absent(reason) from None
    if is_utf16(content):
        raise _Unusable(f"a secret in {UTF16}", source=name)
    content = without_mark(content)
    return content.removesuffix(b"\n").removesuffix(b"\r") if content.endswith(b"\n") else content


def _is_padded(secret: bytes) -> bool:
    return secret.strip() != secret


def _absent(reference: SecretRef, environ: Mapping[str, str]) -> str:
    if reference.file:
        shown = _shown_file(reference.file)
        return f"a file that exists, or optional = true; there is no {shown}"
    remedy = f"set the environment variable {_shown_variable(reference.env)}, or optional = true"
    other = f"{reference.env}_FILE"  # a convention of container images, which we do not follow
    if other in environ:
        remedy += f'; {other} is set, but read only if {{ file = "..." }} says so'
    return remedy


def _shown_variable(name: str | None) -> str | None:
    """Return the name, unless it looks like a secret that somebody wrote in its place."""
    return name if _VARIABLE.fullmatch(name or "") else "that env names"


def _shown_file(name: str) -> str:
    return name if _PATH.fullmatch(name) else "file of that name"
