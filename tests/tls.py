"""A RabbitMQ that speaks TLS and asks for a certificate, and bridges as processes."""

from contextlib import asynccontextmanager

import pytest

from bridge.dev.rabbitmq import RabbitMQNode, find_installation
from tests.authority import Authority
from tests.helpers import nothing_deprecated
from tests.system.faults.process import BridgeProcess, reserve_port, until

PLUGIN = "rabbitmq_auth_mechanism_ssl"
ADD_USER = (
    'B = rabbit_auth_backend_internal, Any = <<".*">>,'
    ' ok = B:add_user(<<"bridge">>, <<"unused">>, <<"tests">>),'
    ' ok = B:set_permissions(<<"bridge">>, <<"/">>, Any, Any, Any, <<"tests">>).'
)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """Return the CA that everybody trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory):
    """Return a CA that nobody knows."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def tls_port():
    """Return a port that nobody else gets."""
    with reserve_port() as held:
        yield held.getsockname()[1]


@pytest.fixture(scope="session")
def tls_node(authority, tls_port, tmp_path_factory):
    """Start a RabbitMQ that also listens for TLS, with the user ``bridge``."""
    server = authority.issue("127.0.0.1")
    config = {
        "listeners.ssl.1": f"127.0.0.1:{tls_port}",
        "ssl_options.cacertfile": f"{authority.file}",
        "ssl_options.certfile": f"{server.certificate}",
        "ssl_options.keyfile": f"{server.key}",
        "ssl_options.verify": "verify_peer",
        "ssl_options.fail_if_no_peer_cert": "true",
        "ssl_cert_login_from": "common_name",
        "auth_mechanisms.1": "PLAIN",
        "auth_mechanisms.2": "EXTERNAL",
    }
    directory = tmp_path_factory.mktemp("node")
    with RabbitMQNode.prepare(directory, config) as node, nothing_deprecated(node):
        start_with(node, PLUGIN)
        node.evaluate(ADD_USER)
        yield node


def start_with(node, plugin):
    """Start a node with one of the plugins of the installation."""
    [found] = (find_installation() / "plugins").glob(f"{plugin}-*")
    (node.directory / "home" / "plugins" / found.name).symlink_to(found)
    (node.directory / "enabled_plugins").write_text(f"[{plugin}].\n")
    node.restart()


@pytest.fixture
def bridges(tmp_path):
    """Return a context manager that runs the process of a bridge."""

    @asynccontextmanager
    async def run(broker_url="amqp://127.0.0.1:1/", **environ):
        bridge = BridgeProcess(tmp_path, broker_url, **environ)
        try:
            await bridge.start()
            await until(lambda: bridge.log.counts["service_started"], what="it listens")
            yield bridge
        finally:
            bridge.close()

    return run
