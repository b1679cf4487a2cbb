"""Kubernetes' own schemas, strict: a field that it does not know is a mistake."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

from jsonschema.exceptions import best_match
from jsonschema.validators import Draft202012Validator
from referencing import Registry, Resource

_DIRECTORY = "kubernetes_validate/kubernetes-json-schema/v{}.0-local-strict/"


class Schemas:
    """The schemas of one release, such as "1.34"."""

    def __init__(self, wheel: Path, release: str) -> None:
        self.release = release
        self._archive = zipfile.ZipFile(wheel)
        self._directory = _DIRECTORY.format(release)
        definitions = Resource.from_contents(self._read("_definitions.json"))
        self._registry: Registry[Any] = definitions @ Registry()

    def mistakes(self, manifest: dict[str, Any]) -> list[str]:
        """Return what is wrong with an object, each with its place; raises KeyError for a kind.

        Of alternatives that all fail the most telling one is named.
        """
        group, _, version = manifest["apiVersion"].rpartition("/")
        kind = manifest["kind"].lower()
        name = "-".join(filter(None, (kind, group.partition(".")[0], version)))
        validator = Draft202012Validator(self._read(f"{name}.json"), registry=self._registry)
        return [_told(error) for error in validator.iter_errors(manifest)]

    def _read(self, name: str) -> Any:
        return json.loads(self._archive.read(self._directory + name))


def releases(wheel: Path, *, since: str) -> list[str]:
    """Return the releases that there are schemas of, the oldest first."""
    pattern = re.compile(_DIRECTORY.format(r"([\d.]+?)").replace("/", r"\/") + "_definitions")
    with zipfile.ZipFile(wheel) as archive:
        found = [match[1] for name in archive.namelist() if (match := pattern.match(name))]
    return sorted((each for each in found if _number(each) >= _number(since)), key=_number)


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def _told(error: Any) -> str:
    told = best_match([error])
    place = ".".join(str(part) for part in told.absolute_path)
    return f"{place}: {told.message}"
