"""requirements/: what is installed is bound by hashes, and names no package index."""

import tomllib
from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).parents[3] / "requirements").glob("*.lock"))

FEWEST = {"bench": 26, "compile": 6, "dev": 26, "otel": 26, "runtime": 26}
"""Minimum number of requirements of each lock file."""


def requirements(lock):
    """Return the requirements of a lock file, each with its hashes."""
    lines = lock.read_text().replace("\\\n", " ").splitlines()
    return [line for line in lines if not line.lstrip().startswith("#")]


def test_there_is_a_lock_for_each_kind_of_environment():
    """They are what .ci/bootstrap and the Dockerfile install."""
    assert list(FEWEST) == [lock.stem for lock in LOCKS]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_is_hashed_and_holds_no_address(lock):
    """Every machine installs the same files, from its own package index."""
    found = requirements(lock)

    assert len(found) >= FEWEST[lock.stem]
    assert [] == [line for line in found if "==" not in line or "--hash=sha256:" not in line]
    assert [] == [
        line for line in lock.read_text().splitlines() if "://" in line or "index" in line
    ]


PEERS = Path(__file__).parents[3] / "bench" / "peers"


@pytest.mark.parametrize("peer", ["go", "bento"])
def test_modules_of_a_peer_in_go_are_hashed(peer):
    """Go refuses a module whose bytes are not those of go.sum."""
    lines = (PEERS / peer / "go.sum").read_text().splitlines()

    assert [] == [line for line in lines if " h1:" not in line]
    assert len(lines) >= 2


def test_crates_of_the_peer_in_rust_are_hashed():
    """Cargo refuses a crate whose bytes are not those of Cargo.lock."""
    packages = tomllib.loads((PEERS / "rust" / "Cargo.lock").read_text())["package"]

    assert ["peer"] == [each["name"] for each in packages if "checksum" not in each]
    assert len(packages) > 25
