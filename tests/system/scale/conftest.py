"""The world of a row, with as many bridges as it asks for."""

from functools import partial
from typing import Any

import pytest

from tests.system.faults.world import DEADLINE, SCALE_RESULTS, running

USUAL: dict[str, Any] = {DEADLINE: "2"}
"""The default, in the short form, too: the times of the balancers' files are made for it."""


@pytest.fixture
def world(node, tmp_path):
    """Return what makes the world of a row, given settings for the bridges."""
    return partial(running, node, tmp_path, results=SCALE_RESULTS, **USUAL)
