"""What is generated and in the tree is what would be generated now."""

from pathlib import Path

import pytest

from tests.contract.generated import GOLDEN, ROOT, TREE, files

FILES = files()


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_generated_file_is_not_stale(path):
    """Otherwise `make contract` writes it anew."""
    assert (ROOT / path).read_bytes() == FILES[path], "run make contract"


def test_nothing_is_left_behind():
    """No file of the contract is there that nothing generates any more."""
    there = {path.relative_to(ROOT) for path in (ROOT / TREE).rglob("*.json")}

    assert there == FILES.keys() - {GOLDEN}
    assert Path("docs/contract/asyncapi.json") in there
