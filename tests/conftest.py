"""Fixtures of all tests: a private RabbitMQ per worker, and an environment without surprises."""

import os
import signal
from typing import Any

import pytest

from bridge import log
from tests.helpers import private_node, wipe
from tests.kinds import kind_of
from tests.kinds import unit_tests_start_no_process as unit_tests_start_no_process
from tests.scheduling import BrokerScheduling
from tests.serving import serving as serving
from tests.strategies import profiles as profiles
from tests.tls import authority as authority
from tests.tls import bridges as bridges
from tests.tls import stranger as stranger
from tests.tls import tls_node as tls_node
from tests.tls import tls_port as tls_port


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> BrokerScheduling:
    """Give tests that use the same RabbitMQ to the same worker."""
    return BrokerScheduling(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test with its kind, for ``-m unit``, ``-m integration`` and ``-m system``."""
    item.add_marker(kind_of(item))


@pytest.fixture(scope="session", autouse=True)
def _default_signals():
    """Let the programs that tests start get HUP, even if the tests were started with ``nohup``."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session", autouse=True)
def _clean_environment():
    """Keep a developer's own configuration and the machine's certificates out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("BRIDGE_", "SUPEROFFICE_", "BROKER_", "RABBITMQ_")):
                patch.delenv(name)
        patch.setenv("SSL_CERT_FILE", os.devnull)  # which takes a program 60 ms
        yield


@pytest.fixture(autouse=True)
def _logging():
    """Log to the test's own stderr, which pytest shows when it fails."""
    log.configure(level="debug", format="console")


@pytest.fixture(scope="session")
def node():
    """Start a RabbitMQ for the tests of this worker."""
    with private_node() as node:
        yield node


TEST_EXCHANGES = ("crm.contacts", "other")
TEST_QUEUES = ("all", "contacts", "deleted", "associates", "full", "billing")


@pytest.fixture
def broker(node):
    """Return the URL of a RabbitMQ that holds nothing of an earlier test."""
    wipe(node.url, exchanges=TEST_EXCHANGES, queues=TEST_QUEUES)
    return node.url
