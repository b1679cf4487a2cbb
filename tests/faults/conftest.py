"""A broker for the rows of this directory, which stop and break it: one row at a time has it."""

from functools import partial
from pathlib import Path

import pytest

from bridge.testing.rabbitmq import RabbitMQNode
from tests.faults.world import running

GROUPS = 3
"""Of rows, each on one worker: who has a group starts this broker, the others do not."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Deal the rows out to the groups; the other tests go to whoever is free."""
    here = Path(__file__).parent
    rows = [item for item in items if here in item.path.parents]
    for place, row in enumerate(rows):
        row.add_marker(pytest.mark.xdist_group(f"faults-{place % GROUPS}"))


@pytest.fixture(scope="session")
def node():
    """Start a RabbitMQ that is nobody else's."""
    with RabbitMQNode.start() as node:
        yield node


@pytest.fixture
def world(node, tmp_path):
    """Return what makes the world of a row, given settings for the bridge."""
    return partial(running, node, tmp_path)
