"""A cluster for the rows of this directory, which break it node by node."""

from functools import partial

import pytest

from tests.system.scale.cluster.rabbitmq import RabbitMQCluster
from tests.system.scale.cluster.world import running


@pytest.fixture(scope="package")
def cluster():
    """Start three nodes that are nobody else's."""
    with RabbitMQCluster.start(config={"net_ticktime": "5"}) as cluster:
        yield cluster


@pytest.fixture
def world(cluster, tmp_path):
    """Return what makes the world of a row, given settings for the bridge."""
    return partial(running, cluster, tmp_path)
