"""bridge dev, as a process of its own."""

import asyncio
import json
import shlex
import signal
import socket
from contextlib import ExitStack

import pytest

from bridge.cli.clients.roundtrip import EVENTS
from bridge.dev import rabbitmq
from tests.cli.conftest import alive, close_listeners, environment, family, invoke, running
from tests.helpers import eventually


def received(lines):
    """Return what the consumer printed, as (routing key, JSON body) each."""
    pairs = (line.split("\t") for line in lines if "\t" in line)
    return [(key, json.loads(body)) for key, body in pairs]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_nothing_behind(directory, vhost, number):
    """INT, TERM and HUP, even twice, end all there is, also a node and its epmd; 0 is returned."""
    has_node = number == signal.SIGINT  # that nothing outlives its owner is a test of the node's
    environ = {} if has_node else {"BRIDGE_BROKER__URLS": vhost}
    with running("dev", cwd=directory, **environ) as command:
        command.read_until("ready")
        pids = family(command.pid)
        command.process.send_signal(number)

        assert has_node == (len(pids) > 3)
        assert (0, "") == command.end(number)
        assert not alive(pids)
        assert not any("\x1b" in line for line in command.lines)
        assert not has_node or not list((directory / "var").iterdir())  # no spool either


def test_a_signal_while_the_node_starts(directory):
    """What is half started is stopped as well."""
    with running("dev", cwd=directory) as command:
        command.read_until("starting a private RabbitMQ")
        pids = family(command.pid)

        assert (0, "") == command.end()
        assert not alive(pids | family(command.pid))
        assert not (directory / "var").exists()


def test_once(directory):
    """A private node, the three events as a consumer received them, and a clean end."""
    with running("dev", "--once", cwd=directory) as command:
        code, errors = command.wait()
    messages = received(command.lines)

    assert (0, "") == (code, errors)
    assert list(EVENTS) == [key for key, _ in messages]
    assert list(EVENTS) == [body["data"]["event"] for _, body in messages]
    assert "RabbitMQ " in command.lines[1]
    assert " s at amqp://" in command.lines[1]
    assert "ready" not in command.lines


def test_ready_and_three_lines_on_what_to_do_next(vhost, directory):
    """After ready come commands that can be typed, and where it tells how it is."""
    with running("dev", cwd=directory, BRIDGE_BROKER__URLS=vhost) as command:
        command.read_until("ready")
        assert "ready" == command.lines[-1]
        hints = [command.stdout.readline() for _ in range(3)]
        announced = json.loads((directory / "var" / "dev.json").read_text())
        mode = (directory / "var" / "dev.json").stat().st_mode & 0o777
        code, _ = command.end()

    assert ["make", "send", "EVENT=contact.deleted"] == shlex.split(hints[0])[:3]
    assert ["make", "listen", "PATTERN=contact.*"] == shlex.split(hints[1])[:3]
    assert announced["admin_url"] + "/readyz" in hints[2]
    assert announced["admin_url"] + "/metrics" in hints[2]
    assert (command.pid, vhost, 0o600) == (announced["pid"], announced["amqp_url"], mode)
    assert 0 == code
    assert [] == list((directory / "var").glob("dev.json*"))


def test_busy_ports_move(vhost, directory):
    """Both ports go to the next free ones, and a line each says so."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        public, admin = (sock.getsockname()[1] for sock in taken)
        command = stack.enter_context(
            running(
                "dev",
                cwd=directory,
                BRIDGE_BROKER__URLS=vhost,
                BRIDGE_SERVER__PORT=f"{public}",
                BRIDGE_SERVER__ADMIN_PORT=f"{admin}",
            )
        )
        command.read_until("ready")
        moved = [line for line in command.lines if line.startswith("port ")]
        command.end()

    assert [f"port {public} is busy", f"port {admin} is busy"] == [
        line.split(":")[0] for line in moved
    ]


def test_it_ends_with_its_reader(vhost, directory):
    """As in `bridge dev | head`: everything is stopped, though nothing more is printed."""
    with running("dev", cwd=directory, BRIDGE_BROKER__URLS=vhost) as command:
        command.read_until("ready")
        pids = family(command.pid)
        command.stdout.close()

        assert 141 == command.process.wait(timeout=30)
        assert "" == command.stderr.read()
        assert not alive(pids)
        assert [] == list((directory / "var").glob("dev.json*"))


def test_the_environment_and_the_file_count(vhost, directory):
    """A given secret is used as it is, and the endpoint is that of the file."""
    config = directory / "mine.toml"
    config.write_text(
        '[[endpoints]]\nname = "oslo"\npath = "/oslo"\nsecrets = [{ env = "SUPEROFFICE_SECRET" }]\n'
        '[broker]\nexchange = "cli.dev"\n'
        '[[routes]]\nmatch = "associate.#"\nexchange = "cli.people"\nformat = "raw"\n'
    )
    environ = {"BRIDGE_BROKER__URLS": vhost, "SUPEROFFICE_SECRET": "given"}
    with running("dev", "--config", str(config), cwd=directory, **environ) as command:
        command.read_until("ready")
        announced = json.loads((directory / "var" / "dev.json").read_text())
        command.end()
    raw = received(command.lines)[-1]

    assert "given" == announced["secret"]
    assert announced["url"].endswith("/oslo")
    assert ("associate.changed", "associate.changed") == (raw[0], raw[1]["Event"])


def test_what_does_not_arrive_is_named(vhost, directory):
    """Exit code 1, and a line for each event with what became of it."""
    environ = {"BRIDGE_BROKER__URLS": vhost, "BRIDGE_SERVER__MAX_BODY_BYTES": "10"}
    with running("dev", "--once", cwd=directory, **environ) as command:
        code, errors = command.wait()

    assert 1 == code
    failed = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert [f"error: {event} was not accepted: 413" for event in EVENTS] == [
        line[: line.index("413") + 3] for line in failed
    ]


def test_it_prints_what_arrives_also_on_a_new_connection(broker, directory, node):
    """The consumer outlives its connection, and prints what other commands send."""
    with running("dev", cwd=directory, BRIDGE_BROKER__URLS=broker) as command:
        command.read_until("ready")
        close_listeners(node)
        notices = [command.stderr.readline() for _ in range(2)]
        assert 0 == invoke("send", "person.created").exit_code
        line = command.read_until("person.created\t")
        code, _ = command.end()

    assert ["the consumer lost", "the consumer is back\n"] == [notices[0][:17], notices[1]]
    assert "person.created" == received([line])[0][1]["data"]["event"]
    assert 0 == code


WITHOUT_SERVER = """
from bridge.cli.app import main
from bridge.dev import rabbitmq

rabbitmq.DEBIAN_SERVER = "/nowhere/rabbitmq-server"
main()
"""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1/"}, id="broker down"),
        pytest.param({"program": ("-c", WITHOUT_SERVER), "PATH": "/nowhere"}, id="not installed"),
    ],
)
def test_without_any_broker_it_serves_and_spools(directory, options):
    """It starts, accepts, says where it keeps what it accepts, and there it is."""
    with running("dev", cwd=directory, **options) as command:
        command.read_until("ready")
        sent = invoke("send", "contact.created", "--json")
        status = json.loads(invoke("spool", "status", "--json").stdout)
        code, errors = command.end()

    assert (0, 0) == (sent.exit_code, code)
    assert "spooled" in sent.stdout
    assert 1 == status["events"]
    assert f"events are accepted and kept on disk, in {status['path']}" in command.lines
    assert "RabbitMQ" in errors


async def test_a_broker_that_comes_later_gets_what_was_kept(directory):
    """What was accepted without a broker leaves the disk when one is there."""
    late = rabbitmq.RabbitMQNode.prepare(directory, {})
    with late, running("dev", cwd=directory, BRIDGE_BROKER__URLS=late.url) as command:
        command.read_until("ready")
        sent = await asyncio.to_thread(invoke, "send", "contact.created", "--json")
        kept = spooled()
        await asyncio.to_thread(late.restart)
        await eventually(lambda: spooled() == 0)
        code, _ = command.end()

    assert "spooled" in sent.stdout
    assert (1, 0) == (kept, code)


def spooled():
    """Return how many events wait on the disk of the bridge that runs."""
    return json.loads(invoke("spool", "status", "--json").stdout)["events"]


def test_a_broker_that_is_not_there_is_69(directory):
    """A broker that was named is not replaced by a private one, and --once needs it."""
    result = invoke("dev", "--once", env=environment(BRIDGE_BROKER__URLS="amqp://127.0.0.1:1/"))

    assert 69 == result.exit_code
    assert "127.0.0.1:1" in result.stderr


def test_without_rabbitmq_it_says_what_to_install(directory, monkeypatch):
    """A machine without the server gets the remedy."""
    monkeypatch.setattr(rabbitmq, "DEBIAN_SERVER", "/nowhere/rabbitmq-server")
    result = invoke("dev", "--once", env={"PATH": "/nowhere"})

    assert 69 == result.exit_code
    assert "apt-get install rabbitmq-server" in result.stderr
