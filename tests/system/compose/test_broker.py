"""The users of config/rabbitmq may do what they need and nothing else, in their own RabbitMQ."""

import json
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from bridge.core.message import PARKED, UNROUTED
from tests.cli.conftest import ROOT, invoke, running
from tests.helpers import amqp, private_node

CONFIG = ROOT / "config" / "rabbitmq"
PASSWORDS = {"bridge": "Hemmelig!", "consumer": "Også/hemmelig+1"}
FREE = {"BRIDGE_SERVER__PORT": "0", "BRIDGE_SERVER__ADMIN_PORT": "0"}


def start(template, secrets, definitions):
    """Run start.sh as the container does, with a command that does nothing."""
    args = ["sh", CONFIG / "start.sh", template, secrets, definitions, "true"]
    return subprocess.run(args, capture_output=True, text=True, check=False)


def settings():
    """Return the keys and values of the rabbitmq.conf that the container gets."""
    lines = (CONFIG / "rabbitmq.conf").read_text().splitlines()
    return dict(line.split(" = ") for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Start a RabbitMQ with the definitions; return URL and variables of each user."""
    directory = tmp_path_factory.mktemp("broker")
    for user, password in PASSWORDS.items():
        (directory / f"{user}_password").write_text(f"{password}\n")
    definitions = directory / "definitions.json"
    done = start(CONFIG / "definitions.json", directory, definitions)
    assert (0, "") == (done.returncode, done.stderr)

    config = {**settings(), "definitions.local.path": f"{definitions}"}
    with private_node(**config) as node:
        yield SimpleNamespace(node=node, directory=directory)


def variables(broker, user):
    """Return the variables of a bridge or a command that is this user."""
    return {
        **FREE,
        "SUPEROFFICE_SECRET": "x",
        "BRIDGE_BROKER__URLS": f"amqp://127.0.0.1:{broker.node.port}/",
        "BRIDGE_BROKER__USERNAME": user,
        "BRIDGE_BROKER__PASSWORD__FILE": f"{broker.directory / f'{user}_password'}",
    }


def refused(broker, user, action):
    """Return the code with which the broker closes the channel for what a user tries."""
    credentials = pika.PlainCredentials(user, PASSWORDS[user])
    where = pika.ConnectionParameters("127.0.0.1", broker.node.port, credentials=credentials)
    connection = pika.BlockingConnection(where)
    try:
        with pytest.raises(ChannelClosedByBroker) as closed:
            action(connection.channel())
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()
    return closed.value.reply_code


@pytest.fixture
def declared(broker, tmp_path, monkeypatch):
    """Have the user of the bridge declare all it needs."""
    monkeypatch.chdir(tmp_path)
    result = invoke("topology", "apply", "--json", env=variables(broker, "bridge"))
    assert (0, []) == (result.exit_code, json.loads(result.stdout)["mismatches"])
    return broker


def test_the_bridge_delivers_to_a_consumer(declared, tmp_path):
    """The service publishes, and the other user listens, each with its own rights alone."""
    consumer, service = variables(declared, "consumer"), variables(declared, "bridge")
    with running("listen", "#", "--count", "1", cwd=tmp_path, **consumer) as listening:
        assert "listening" in listening.stderr.readline()
        with running("serve", cwd=tmp_path, **service) as serving:
            while '"service_started"' not in (line := serving.read_until('{"timestamp"')):
                pass
            url = json.loads(line)["url"]
            sent = invoke("send", "sale.sold", "--to", f"{url}/webhook", env=service)
            assert 0 == sent.exit_code, sent.output
            arrived = listening.read_until("sale.sold")  # straight away, or by way of the spool

    assert "com.superoffice.sale.sold" in arrived


@pytest.mark.parametrize("queue", [UNROUTED, PARKED])
def test_the_bridge_reads_what_was_put_aside(declared, queue):
    """`bridge parked` and the moving of unrouted events need to read these queues."""
    with amqp(f"amqp://bridge:{PASSWORDS['bridge']}@127.0.0.1:{declared.node.port}/") as channel:
        assert (None, None, None) == channel.basic_get(queue)


@pytest.mark.parametrize(
    ("user", "action"),
    [
        ("bridge", lambda at: at.queue_declare("billing", durable=True)),
        ("bridge", lambda at: at.exchange_declare("other", "topic")),
        ("bridge", lambda at: at.exchange_declare("superoffice.other", "topic")),
        ("consumer", lambda at: at.exchange_delete("superoffice")),
        ("consumer", lambda at: at.queue_delete(PARKED)),
        ("consumer", lambda at: at.basic_get(PARKED)),
        ("consumer", lambda at: at.queue_declare("billing", durable=True)),
    ],
)
def test_all_else_is_refused(declared, user, action):
    """Neither user touches what is not its own."""
    assert 403 == refused(declared, user, action)


def test_a_consumer_cannot_publish_events(declared):
    """Nobody but the bridge writes to the exchange."""

    def publish(channel):
        channel.confirm_delivery()
        channel.basic_publish("superoffice", "contact.created", b"forged")

    assert 403 == refused(declared, "consumer", publish)


def test_there_is_no_default_user(declared, tmp_path):
    """With the definitions RabbitMQ makes no guest."""
    url = {"BRIDGE_BROKER__URLS": f"amqp://guest:guest@127.0.0.1:{declared.node.port}/"}
    result = invoke("check", "--connect", env={**url, "SUPEROFFICE_SECRET": "x"})

    assert 69 == result.exit_code
    assert "ACCESS_REFUSED" in result.stderr


def test_without_a_password_nothing_starts(tmp_path):
    """An absent secret is an error that names it, never an empty password."""
    done = start(CONFIG / "definitions.json", tmp_path, tmp_path / "definitions.json")

    assert 1 == done.returncode
    assert "bridge_password is absent or empty" in done.stderr
    assert not (tmp_path / "definitions.json").exists()
