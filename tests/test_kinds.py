"""Every test has its kind: see tests/kinds.py."""

import subprocess
from pathlib import Path

import pytest

from tests.kinds import LONG, PROCESSES

ROOT = Path(__file__).parents[1]


def test_a_unit_test_cannot_start_a_process():
    """It fails at once, so that a wrong kind is noticed where it begins."""
    with pytest.raises(AssertionError, match=r"tests/kinds\.py"):
        subprocess.run(["true"], check=False)


@pytest.mark.parametrize("name", PROCESSES + LONG)
def test_tests_that_are_named_exist(name):
    """A test that was renamed must not become one of another kind."""
    path, _, start = name.partition("::")

    assert (ROOT / path).exists()
    assert f"def {start}" in (ROOT / path).read_text() if start else True
