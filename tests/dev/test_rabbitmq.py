"""What can be done to a running node, started in an environment that means it ill."""

import os
import re
import socket
from contextlib import suppress
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPConnectionError

from bridge.dev.probe import AMQP_HEADER
from bridge.dev.rabbitmq import RabbitMQFailed, RabbitMQNode, find_installation
from tests.dev.conftest import processes_of, wait_until
from tests.helpers import amqp

# What an operator or a machine may have set for another RabbitMQ; each of them would do harm.
HOSTILE = {
    "CONF_ENV_FILE": "/hostile.conf",
    "ERL_AFLAGS": "-hostile",
    "ERL_EPMD_PORT": "4369",
    "ERL_LIBS": "/hostile",
    "NODENAME": "hostile@localhost",
    "NOTIFY_SOCKET": "/hostile",
    "RABBITMQ_CONFIG_FILE": "/hostile.conf",
    "RABBITMQ_ENABLED_PLUGINS": "rabbitmq_hostile",
    "RABBITMQ_LOGS": "/hostile.log",
    "RABBITMQ_NODENAME": "hostile@localhost",
    "RABBITMQ_NODE_PORT": "5672",
    "RABBITMQ_SERVER_START_ARGS": "-hostile",
}


@pytest.fixture(scope="module", autouse=True)
def _hostile_environment():
    """Set variables that are meant for another RabbitMQ."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in HOSTILE.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def node(_hostile_environment):
    """Start a node that the tests of this module may kill and freeze."""
    with RabbitMQNode.start() as node:
        yield node


def listening(directory):
    """Return the local addresses, in hexadecimal, on which a node's processes listen."""
    links = []
    for pid in processes_of(directory):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed meanwhile
                links.append(os.readlink(link))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and f"socket:[{rest[5]}]" in links:
                found.add(local)
    return found


def test_accepts_connections(node):
    """The node has the version that is installed and lets guest in at its URL."""
    installed = re.search(r"[0-9.]+$", find_installation().name)

    assert f"amqp://guest:guest@127.0.0.1:{node.port}/" == node.url
    assert installed is None or installed[0] == node.version
    assert 0 < node.started_in_seconds < 60
    with amqp(node.url) as channel:
        assert channel.is_open


def test_listens_on_loopback_only(node):
    """AMQP, the Erlang distribution and epmd are not reachable from outside, nor on usual ports."""
    addresses = listening(node.directory)

    assert 3 <= len(addresses)
    assert {"0100007F", "00000000000000000000000001000000"} >= {a.split(":")[0] for a in addresses}
    assert {5672, 4369}.isdisjoint(int(a.split(":")[1], 16) for a in addresses)


def test_nothing_leaks_in(node):
    """No variable that was set for another RabbitMQ reaches the server or rabbitmqctl."""
    (pid,) = re.findall(r"\d+", node.evaluate("os:getpid()."))

    assert b"hostile" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert b"hostile" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert node.ctl("eval", "node().").startswith("'bridge-")
    assert str(node.directory) in node.ctl("environment")


def test_ctl_failure_shows_the_output(node):
    """What rabbitmqctl complains about is in the error."""
    with pytest.raises(RabbitMQFailed, match="no_such_user"):
        node.ctl("change_password", "no_such_user", "secret")


def test_failed_evaluation_shows_the_cause(node):
    """What Erlang says to an expression that fails is in the error."""
    assert "3" == node.evaluate("X = 1, X + 2.")
    with pytest.raises(RabbitMQFailed, match="badmatch"):
        node.evaluate("1 = 2.")


def test_killed_and_restarted_node_keeps_messages(node):
    """After kill nothing answers; after restart confirmed messages are there, at the same URL."""
    with amqp(node.url) as channel:
        channel.confirm_delivery()
        for kind in ("classic", "quorum"):
            channel.queue_declare(kind, durable=True, arguments={"x-queue-type": kind})
            channel.basic_publish("", kind, b"kept", pika.BasicProperties(delivery_mode=2))
        node.sync()
        node.kill()
        with pytest.raises(AMQPConnectionError):
            channel.queue_declare("classic", passive=True)

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.port), 1)
    with pytest.raises(RabbitMQFailed, match="not running"):
        node.ctl("status")
    node.restart()
    with amqp(node.url) as channel:
        assert b"kept" == channel.basic_get("classic", auto_ack=True)[2]
        assert b"kept" == channel.basic_get("quorum", auto_ack=True)[2]


def test_frozen_node_answers_after_thawing(node):
    """A frozen node keeps connections open without a word, and goes on when thawed."""
    node.freeze()
    with socket.create_connection(("127.0.0.1", node.port), 5) as connection:
        connection.sendall(AMQP_HEADER)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)

        node.thaw()
        connection.settimeout(20)
        assert b"\x01" == connection.recv(1)


def test_alarm_blocks_publishers_until_cleared(node):
    """A publisher is told connection.blocked by the alarm and connection.unblocked after it."""
    seen = []
    with amqp(node.url) as channel:
        connection = channel.connection
        connection.add_on_connection_blocked_callback(lambda *_: seen.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: seen.append("unblocked"))

        def has_seen(*expected):
            connection.process_data_events(0.05)
            return list(expected) == seen

        node.raise_alarm()
        channel.basic_publish("", "nobody", b"")
        wait_until(lambda: has_seen("blocked"))

        node.clear_alarm()
        wait_until(lambda: has_seen("blocked", "unblocked"))
