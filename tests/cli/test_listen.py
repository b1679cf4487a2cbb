"""bridge listen, beside a running bridge dev."""

import json
import signal

import pytest

from tests.cli.conftest import close_listeners, invoke, running
from tests.contract.validation import check_message
from tests.helpers import amqp, consumer_queue


def publish(url, key, body=b"{}", *, exchange="superoffice"):
    """Publish a message that did not come from a bridge."""
    with amqp(url) as channel:
        channel.basic_publish(exchange, key, body)


def listening(*args, cwd):
    """Run bridge listen; its queue is bound once it says so on standard error."""
    return running("listen", *args, cwd=cwd)


def until_bound(command):
    """Return the line that says that the queue is bound."""
    line = command.stderr.readline()
    assert line.startswith("listening for "), line
    return line


def test_what_matches_is_printed(dev, dev_directory):
    """Only events that match one of the patterns arrive, as routing key and body."""
    with listening("contact.*", "associate.deleted", "--count", "2", cwd=dev_directory) as command:
        until_bound(command)
        for event in ("person.created", "contact.deleted", "associate.deleted"):
            assert 0 == invoke("send", event).exit_code
        code, _ = command.wait()
    keys, bodies = zip(*(line.split("\t") for line in command.lines), strict=True)

    assert (0, ("contact.deleted", "associate.deleted")) == (code, keys)
    assert list(keys) == [json.loads(body)["data"]["event"] for body in bodies]


def test_programs_get_all_of_a_message(dev, dev_directory):
    """--json is one object per line, with properties, headers and the body as JSON."""
    with listening("#", "--count", "1", "--json", cwd=dev_directory) as command:
        until_bound(command)
        sent = json.loads(invoke("send", "contact.changed", "--json").stdout)
        command.wait()
    message = json.loads(command.lines[0])

    assert ("contact.changed", "superoffice") == (message["routing_key"], message["exchange"])
    assert sent["ids"] == [message["message_id"]] == [message["body"]["id"]]
    assert "application/cloudevents+json" == message["content_type"]
    assert "com.superoffice.contact.changed" == message["type"]
    assert "contact" == message["headers"]["entity"]
    assert isinstance(message["timestamp"], int)
    names = ("content_type", "message_id", "timestamp", "type", "app_id")
    given = {"delivery_mode": 2, **{name: message[name] for name in names}}
    check_message(given, message["headers"], json.dumps(message["body"]).encode())


def test_another_exchange(dev, dev_directory):
    """--exchange listens there, to messages of any origin."""
    with listening(
        "", "--exchange", "superoffice.parked", "--count", "1", cwd=dev_directory
    ) as command:
        until_bound(command)
        publish(dev["amqp_url"], "", b"\xff", exchange="superoffice.parked")
        command.wait()

    assert ["\tbase64:/w=="] == command.lines


def test_a_missing_exchange_is_1(dev):
    """The error names the exchange and who declares it."""
    result = invoke("listen", "#", "--exchange", "nowhere")

    assert 1 == result.exit_code
    assert "'nowhere'" in result.stderr
    assert "bridge topology apply" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(dev, dev_directory, number):
    """Ending without a count is fine."""
    with listening("#", cwd=dev_directory) as command:
        until_bound(command)

        assert (0, "") == command.end(number)


def test_too_few_is_1(dev, dev_directory):
    """With a count, ending before it is reached is a failure."""
    with listening("#", "--count", "1", cwd=dev_directory) as command:
        until_bound(command)
        code, errors = command.end()

    assert 1 == code
    assert "before 1 events" in errors


def test_it_ends_with_its_reader(dev, dev_directory):
    """As in `bridge listen | head`: the end of the reader is the end of the command."""
    with listening("#", cwd=dev_directory) as command:
        until_bound(command)
        command.stdout.close()

        assert 141 == command.process.wait(timeout=30)
        assert "" == command.stderr.read()


def test_a_lost_connection_is_69(broker, directory, node):
    """It does not go on as if nothing could arrive."""
    consumer_queue(broker, "all", "#")
    environ = {"BRIDGE_BROKER__URLS": broker, "SUPEROFFICE_SECRET": "x"}
    with running("listen", "#", cwd=directory, **environ) as command:
        until_bound(command)
        close_listeners(node)
        code, errors = command.wait()

    assert 69 == code
    assert "error: RabbitMQ cannot be reached" in errors
