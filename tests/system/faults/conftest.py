"""A broker for the rows of this directory, which stop and break it: one row at a time has it."""

from functools import partial

import pytest

from tests.helpers import private_node
from tests.system.faults.world import running


@pytest.fixture(scope="session")
def node():
    """Start a RabbitMQ that is nobody else's."""
    with private_node() as node:
        yield node


@pytest.fixture
def world(node, tmp_path):
    """Return what makes the world of a row, given settings for the bridge."""
    return partial(running, node, tmp_path)
