"""bridge parked list / show."""

import http.client
import json
import signal
import time

import pytest
from pika import BasicProperties
from yarl import URL

from bridge.core.message import PARKED
from bridge.superoffice.signature import sign
from tests.cli.conftest import invoke, running
from tests.helpers import amqp

BODIES = (b"[1,2]", b"no json \x1b[31m", b"\xff\xfe\x00", b'{"Event":" "}', b"last")
REASONS = ["not_object", "not_json", "not_utf8", "no_event", "not_json"]


@pytest.fixture
def parked(dev):
    """Have the running bridge park five deliveries; return their ids."""
    with amqp(dev["amqp_url"]) as channel:
        channel.queue_purge(PARKED)
    return [deliver(dev, body)["id"] for body in BODIES]


def deliver(dev, body):
    """Post signed bytes and return the answer."""
    url = URL(dev["url"])
    connection = http.client.HTTPConnection("127.0.0.1", url.port)
    headers = {"X-SuperOffice-Signature": sign(body, secret=dev["secret"].encode())}
    connection.request("POST", url.path, body, headers)
    answer = json.load(connection.getresponse())
    connection.close()
    return answer


def listed(*args):
    """Return what list says, for programs."""
    return json.loads(invoke("parked", "list", "--json", *args).stdout)


def test_looking_loses_and_moves_nothing(parked):
    """Three looks at all and at parts of it show the same, oldest first."""
    looks = [listed() for _ in range(3)]
    parts = [listed("--limit", "2") for _ in range(3)]
    shown = [invoke("parked", "show", index) for index in (2, 2, 4, 1, 2)]

    assert [looks[0]] * 3 == looks
    assert parked == [message["id"] for message in looks[0]["messages"]]
    assert REASONS == [message["reason"] for message in looks[0]["messages"]]
    assert [{"total": 5, "messages": looks[0]["messages"][:2]}] * 3 == parts
    assert [0] * 5 == [result.exit_code for result in shown]
    assert looks[0] == listed()


def test_the_list_for_people(parked):
    """Index, id, reason, endpoint, time and size, and how many there are in total."""
    result = invoke("parked", "list", "--limit", "1")
    index, event_id, reason, endpoint, _, size = result.stdout.strip().split("\t")

    assert ("1", parked[0], "not_object", "superoffice", "5") == (
        index,
        event_id,
        reason,
        endpoint,
        size,
    )
    assert "5 parked, 1 shown\n" == result.stderr


def test_one_in_full(parked):
    """By index or id, headers and body are shown; the body cannot reach the terminal's controls."""
    by_index = invoke("parked", "show", 2)
    by_id = invoke("parked", "show", parked[1])
    by_start = invoke("parked", "show", parked[1][:20])

    assert "reason\tnot_json\n" in by_index.stdout
    assert by_index.stdout.endswith("no json \\u001b[31m\n")
    assert {without_count(by_index)} == {without_count(by_id), without_count(by_start)}


def without_count(result):
    """Return the output without the header in which the broker counts deliveries."""
    lines = result.stdout.splitlines()
    return tuple(line for line in lines if not line.startswith("x-delivery-count"))


def test_bytes_that_are_no_text(parked):
    """They are dumped for people and base64 for programs."""
    assert invoke("parked", "show", 3).stdout.endswith("00000000  ff fe 00\n")
    assert "//4A" == json.loads(invoke("parked", "show", 3, "--json").stdout)["body_base64"]


@pytest.mark.parametrize("which", ["0", "6", "sha256-none"])
def test_what_is_not_there_is_1(parked, which):
    """An index or an id that nothing has is an error."""
    result = invoke("parked", "show", which)

    assert 1 == result.exit_code
    assert repr(which) in result.stderr


def test_an_ambiguous_start_is_1(parked):
    """The start of several ids shows none of them."""
    assert 1 == invoke("parked", "show", "sha256-").exit_code


def test_a_look_that_is_killed_loses_nothing(parked, dev, dev_directory):
    """Also kill -9 in the middle of a look leaves everything parked."""
    with amqp(dev["amqp_url"]) as channel:
        for number in range(2000):
            channel.basic_publish(PARKED, "", b"%d" % number)
        wait_for(lambda: 2005 == ready(channel))
        with running("parked", "export", cwd=dev_directory) as command:  # and nobody reads it
            wait_for(lambda: ready(channel) < 2005)
            command.process.kill()

            assert -signal.SIGKILL == command.process.wait()
        wait_for(lambda: 2005 == ready(channel))


def ready(channel):
    """Return how many messages are parked and in nobody's hands."""
    return channel.queue_declare(PARKED, passive=True).method.message_count


def wait_for(condition):
    """Return when the condition holds; the broker counts a moment later."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_missing_queue_is_1(broker, directory):
    """The error says who declares it."""
    env = {"SUPEROFFICE_SECRET": "x", "BRIDGE_BROKER__URLS": broker}
    result = invoke("parked", "list", env=env)

    assert 1 == result.exit_code
    assert PARKED in result.stderr
    assert "bridge topology apply" in result.stderr


def test_many_parked(parked, dev):
    """A list takes no longer for those that it does not show, and says what it has looked at."""
    with amqp(dev["amqp_url"]) as channel:
        for number in range(4_000):
            channel.basic_publish(PARKED, "", b"{}", BasicProperties(message_id=f"m{number:04}"))
        wait_for(lambda: 4_005 == ready(channel))
        took, looks = timed(lambda: [invoke("parked", "list", "--limit", "5") for _ in range(3)])
        wait_for(lambda: 4_005 == ready(channel))
        walked, last = timed(lambda: invoke("parked", "show", "m3999", "--json"))
        wait_for(lambda: 4_005 == ready(channel))
        channel.queue_purge(PARKED)

    assert {"4005 parked, 5 shown: the oldest of the first 1000\n"} == {at.stderr for at in looks}
    assert [[f"m{number:04}" for number in range(5)]] * 3 == [shown_ids(look) for look in looks]
    assert "m3999" == json.loads(last.stdout)["message_id"]
    assert (True, True) == (took < 3 * 2, walked < 5)


def shown_ids(result):
    """Return the ids that a list for people has."""
    return [line.split("\t")[1] for line in result.stdout.splitlines()]


def timed(function):
    """Return how many seconds a function takes, and what it returns."""
    began = time.monotonic()
    result = function()
    return time.monotonic() - began, result
