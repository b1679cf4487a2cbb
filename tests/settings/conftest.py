"""Files that a configuration is read from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a file that a test may write."""
    file = tmp_path / "bridge.toml"
    file.touch()
    return file


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """Return the path of a file for a secret, which does not exist yet."""
    return tmp_path / "secret"
