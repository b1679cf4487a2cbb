"""A broker that allows one channel, or one connection: nothing costs the publishes theirs."""

import asyncio
import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.broker import renewal, topology_watch
from bridge.broker.topology import Topology
from bridge.core.publish import Outcome
from tests.broker.test_publisher import outcome_of, publish_all
from tests.helpers import amqp, consumer_queue, eventually, ids, message

USERS = {
    "one-channel": {"max-channels": 1},
    "one-of-each": {"max-channels": 1, "max-connections": 1},
    "one-connection": {"max-connections": 1},
    "three-channels": {"max-channels": 3},
}
_ADD = """[begin
    rabbit_auth_backend_internal:add_user(N, <<"secret">>, N),
    rabbit_auth_backend_internal:set_permissions(N, <<"/">>, A, A, A, N),
    rabbit_auth_backend_internal:set_user_limits(N, L, N)
end || {N, L} <- [%s], A <- [<<".*">>]]."""


@pytest.fixture(scope="module")
def users(node):
    """Add users with limits, in one call, which is quicker."""
    pairs = [(name, json.dumps(limits).replace('"', '\\"')) for name, limits in USERS.items()]
    node.ctl("eval", _ADD % ", ".join(f'{{<<"{name}">>, <<"{text}">>}}' for name, text in pairs))
    yield
    names = ", ".join(f'<<"{name}">>' for name in USERS)
    node.ctl("eval", f"[rabbit_auth_backend_internal:delete_user(N, N) || N <- [{names}]].")


@pytest.fixture
def as_user(users, broker):
    """Return what gives the URL of a user."""
    return lambda name: broker.replace("guest:guest", f"{name}:secret")


def refused(line):
    """Return whether a line of the log says that room is scarce."""
    return line["event"] == "channels_scarce"


async def outcomes(trials):
    """Wait for the trials and return their outcomes."""
    await eventually(lambda: all(trial.outcome for trial in trials))
    return {trial.outcome for trial in trials}


@pytest.mark.parametrize("name", ["one-channel", "one-of-each", "three-channels"])
async def test_trials_where_channels_are_limited(publishing, broker, as_user, name):
    """One connection is lost until that is known, and none afterwards; it is said once."""
    consumer_queue(broker, "all", "contact.created")
    limits: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
    consumer_queue(broker, "full", "full", **limits)
    with capture_logs() as logs:
        async with publishing(urls=(as_user(name),)) as publisher:
            await outcomes([publisher.try_alone(message(n, key="full")) for n in range(8)])
            await eventually(lambda: publisher.is_ready)
            for first in (0, 20, 40):
                trials = [publisher.try_alone(message(n, key="full")) for n in range(8)]
                good = [message(n) for n in range(first, first + 20)]
                assert [Outcome.CONFIRMED] * 20 == await publish_all(publisher, good)
                assert {Outcome.REFUSED} == await outcomes(trials)
            assert {Outcome.CONFIRMED} == await outcomes([publisher.try_alone(message(60))])
            sound = publisher.try_alone(message(61), apart=True)
            assert {Outcome.CONFIRMED} == await outcomes([sound])
            assert await publisher._session._liveness.is_answered()
            assert 2 == publisher.connection

    [scarce] = filter(refused, logs)
    assert "limit" in scarce["error"]
    assert "set_user_limits" in scarce["remedy"]
    assert sorted(f"event-{n}" for n in range(62)) == sorted(ids(broker, "all"))


async def test_one_connection(publishing, as_user):
    """What would have one of its own goes among the others."""
    async with publishing(urls=(as_user("one-connection"),)) as publisher:
        trials = [publisher.try_alone(message(n), apart=True) for n in range(8)]

        assert {Outcome.UNROUTED} == await outcomes(trials)
        assert 1 == publisher.connection


async def test_channel_max_of_one(publishing, node):
    """RabbitMQ negotiates it with everybody: trials have connections of their own."""
    set_to = "application:set_env(rabbit, channel_max, %d)."
    await asyncio.to_thread(node.ctl, "eval", set_to % 1)
    try:
        with capture_logs() as logs:
            async with publishing() as publisher:
                trials = [publisher.try_alone(message(n)) for n in range(8)]
                assert {Outcome.UNROUTED} == await outcomes(trials)
                assert 1 == publisher.connection
    finally:
        await asyncio.to_thread(node.ctl, "eval", set_to % 2047)

    assert 1 == len(list(filter(refused, logs)))


async def test_exchange_that_comes_later(publishing, broker, as_user, monkeypatch):
    """The one channel is lent to a look, ever more rarely."""
    monkeypatch.setattr(topology_watch, "RECHECK_SECONDS", 0.2)
    monkeypatch.setattr(renewal, "REFUSING_SECONDS", 0.2)
    wanted = Topology.of(["superoffice", "other"])
    with amqp(broker) as channel:
        channel.exchange_declare("other", "fanout", durable=True)
    urls = (as_user("one-channel"),)
    async with publishing(urls=urls, wanted=wanted, wait=False) as publisher:
        await eventually(lambda: publisher.is_up and publisher.can_publish_to("superoffice"))
        assert await outcome_of(publisher, message(1, exchange="other")) is Outcome.NOT_SENT
        with amqp(broker) as channel:
            channel.exchange_delete("other")
        await eventually(lambda: publisher.is_ready)
        assert await outcome_of(publisher, message(2, exchange="other")) is Outcome.UNROUTED
