"""The builds of the bridge: hot modules compiled, or all of it interpreted."""

from __future__ import annotations

import shutil
from pathlib import Path

import bridge

COMPILED = "compiled"
INTERPRETED = "interpreted"

PACKAGE = Path(bridge.__file__).parent


def interpreted_copy(directory: Path) -> Path:
    """Return a directory with the same package and nothing compiled; made if it is not there."""
    copy = directory / INTERPRETED
    if not copy.exists():
        compiled = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(PACKAGE, copy / PACKAGE.name, ignore=compiled)
    return copy
