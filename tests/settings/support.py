"""Loading a configuration from the text of its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.core.errors import ConfigInvalid, Problem
from bridge.settings import Settings, load

SECRET = {"SUPEROFFICE_SECRET": "s3cret"}

ENDPOINT = {"name": '"oslo"', "path": '"/oslo"', "secrets": '[{ env = "SUPEROFFICE_SECRET" }]'}
ROUTE = {"match": '"contact.*"'}
QUEUE = {"name": '"billing"', "bindings": '["contact.#"]'}


def table(name: str, /, **keys: str) -> str:
    """Return the TOML of a table, or of one table of a list; the values are TOML already."""
    base = {"endpoints": ENDPOINT, "routes": ROUTE, "queues": QUEUE}.get(name)
    header = f"[{name}]" if base is None else f"[[{name}]]"
    lines = (f"{key} = {value}" for key, value in ((base or {}) | keys).items())
    return "\n".join((header, *lines, ""))


def settings_of(path: Path, environ: Mapping[str, str] = SECRET) -> Settings:
    """Load a file that is right."""
    return load(path, environ).settings


def problems_of(path: Path | None, environ: Mapping[str, str] = SECRET) -> tuple[Problem, ...]:
    """Load a configuration that is wrong."""
    with pytest.raises(ConfigInvalid) as caught:
        load(path, environ)
    return caught.value.problems


def places(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    """Return source and key of each problem."""
    return [(problem.source, problem.key) for problem in problems]
