""".ci/peers: what can be built is built once, and what cannot is skipped with a line."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = ("sh", "cat", "cksum", "dirname", "flock", "mkdir", "mv", "rm", "touch")
WORKS = '#!/bin/sh\nfor last; do out=$before before=$last; done\ntouch "$out"\n'
"""Stands for `go build ... -o FILE .`: the file is the last argument but one."""


class Checkout:
    """A folder with the script and the sources, and a PATH with the tools that it needs."""

    def __init__(self, place):
        self.place = place
        self.programs = place / "programs"
        self.programs.mkdir()
        (place / ".ci").mkdir()
        shutil.copy(ROOT / ".ci" / "peers", place / ".ci")
        ignored = shutil.ignore_patterns("node", "*.py", "__pycache__")
        shutil.copytree(ROOT / "bench" / "peers", place / "bench" / "peers", ignore=ignored)
        for tool in TOOLS:
            (self.programs / tool).symlink_to(shutil.which(tool))

    def add(self, tool, script):
        """Put a program on the PATH."""
        (self.programs / tool).write_text(script)
        (self.programs / tool).chmod(0o755)

    def run(self):
        """Run the script and return the lines that people see."""
        done = subprocess.run(
            [self.place / ".ci" / "peers"],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stderr.splitlines()


@pytest.fixture
def checkout(tmp_path):
    """Return a checkout without Go and Cargo."""
    return Checkout(tmp_path)


def test_without_its_tool_a_peer_is_skipped(checkout):
    """One line each, and the benchmark goes on without it."""
    assert [
        "skipped: the peer go: go is not installed",
        "skipped: the peer rust: cargo is not installed",
        "skipped: the peer bento: go is not installed",
    ] == checkout.run()


def test_a_peer_is_built_once_and_again_when_its_sources_change(checkout):
    """Nothing is said where nothing is to do."""
    checkout.add("go", WORKS)
    cargo = "skipped: the peer rust: cargo is not installed"

    first = checkout.run()
    assert 2 == sum(line.startswith("building the peer") for line in first)
    assert (checkout.place / "var" / "peers" / "go").exists()
    assert [cargo] == checkout.run()

    source = checkout.place / "bench" / "peers" / "go" / "main.go"
    source.write_text(source.read_text() + "\n")
    assert ["building the peer go: about a minute, once ...", cargo] == checkout.run()


def test_a_peer_that_cannot_be_built_is_skipped_and_tried_again(checkout):
    """What an earlier build has left does not stand for it."""
    checkout.add("go", WORKS)
    checkout.run()
    source = checkout.place / "bench" / "peers" / "go" / "go.sum"
    source.write_text("other\n")
    checkout.add("go", "#!/bin/sh\necho 'no module proxy' >&2\nexit 1\n")

    for _ in range(2):
        assert any("go cannot be built here" in line for line in checkout.run())
    assert not (checkout.place / "var" / "peers" / "go").exists()
    assert "no module proxy" in (checkout.place / "var" / "install.log").read_text()
