"""amqps to a real RabbitMQ, and what it says when TLS does not come about."""

import json
from contextlib import closing

import pytest

from tests.helpers import consumer_queue, drain, id_of
from tests.system.faults.client import Connection
from tests.system.faults.process import until
from tests.system.faults.webhooks import Webhooks

QUEUE = "tls"
GUID = "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11"


async def post(bridge, event_id="event-1"):
    """Post an event; return the status and what became of it."""
    with closing(Connection(bridge.port)) as connection:
        reply = await connection.send(Webhooks().request(event_id, key=1, number=1))
    assert reply is not None
    return reply.status, json.loads(reply.body)["status"]


def variables(authority, pair=None, **more):
    """Return the variables for a CA and a client's certificate."""
    files = {"BRIDGE_BROKER__CA_FILE": f"{authority.file}"}
    if pair:
        files["BRIDGE_BROKER__CLIENT_CERTIFICATE"] = f"{pair.certificate}"
        files["BRIDGE_BROKER__CLIENT_KEY"] = f"{pair.key}"
    return {**files, **more}


async def is_up(bridge):
    """Return whether the bridge publishes."""
    status = await bridge.status()
    return (status["broker"], status["topology"]) == ("up", "verified")


@pytest.mark.parametrize(
    ("auth", "user"), [("plain", "guest"), ("external", "bridge")], ids=["plain", "external"]
)
async def test_events_arrive_over_tls(bridges, tls_node, tls_port, authority, auth, user):
    """With password or with the certificate alone; RabbitMQ itself says who is connected how."""
    consumer_queue(tls_node.url, QUEUE, "#")
    pair = authority.issue("client.example.com", name="bridge")
    environ = variables(authority, pair, BRIDGE_BROKER__AUTH=auth)
    async with bridges(f"amqps://127.0.0.1:{tls_port}/", **environ) as bridge:
        await until(lambda: is_up(bridge), what="the bridge publishes")
        answer = await post(bridge, GUID)
        listed = tls_node.ctl("list_connections", "user", "ssl", "auth_mechanism", "--silent")
        [(_, properties, _)] = drain(tls_node.url, QUEUE)

    assert (200, "published") == answer
    assert id_of(Webhooks().body(GUID, key=1, number=1)) == properties.message_id
    assert f"{user}\ttrue\t{auth.upper()}" in listed.splitlines()
    assert "@" not in bridge.log.latest["broker_connected"]["url"] or "plain" == auth


REFUSALS = {
    "unknown CA": (
        "127.0.0.1",
        "stranger",
        "bridge",
        {},
        ("certificate", "name the CA", "[broker] ca_file"),
    ),
    "wrong name": ("localhost", "authority", "bridge", {}, ("ismatch", "[broker] urls")),
    "no certificate": ("127.0.0.1", "authority", None, {}, ("[broker] client_certificate",)),
    "unknown user": (
        "127.0.0.1",
        "authority",
        "nobody",
        {"BRIDGE_BROKER__AUTH": "external"},
        ("EXTERNAL", "RabbitMQ must have a user", "ssl_cert_login_from"),
    ),
}


def explained(bridge, words):
    """Return whether the latest error has all of the words."""
    error = bridge.log.latest["broker_unreachable"]["error"]
    return all(word in error for word in words)


@pytest.mark.parametrize(
    ("host", "trusted", "name", "environ", "words"), REFUSALS.values(), ids=REFUSALS
)
async def test_a_refusal_is_explained_and_events_are_kept(
    bridges, tls_node, tls_port, authority, request, host, trusted, name, environ, words
):
    """The log has cause and remedy, the bridge goes on trying, and answers for what is on disk."""
    pair = authority.issue("client.example.com", name=name) if name else None
    environ = variables(request.getfixturevalue(trusted), pair, **environ)
    async with bridges(f"amqps://{host}:{tls_port}/", **environ) as bridge:
        answer = await post(bridge)
        await until(lambda: bridge.log.counts["broker_unreachable"] >= 2, what="it tries again")
        # A reset of the connection may overtake what TLS has to say about a missing certificate.
        await until(lambda: explained(bridge, words), what=f"the log says {words}")
        status, code = await bridge.status(), await bridge.terminate()

    assert (200, "spooled") == answer
    assert (True, "down", 1) == (status["ready"], status["broker"], status["spool"]["events"])
    assert 0 == code
    assert not {"task_failed", "library_message", "not_json"} & bridge.log.counts.keys()


async def test_tls_to_a_plain_port_is_explained(bridges, tls_node, authority):
    """Who forgot the other port is told so."""
    url = f"amqps://127.0.0.1:{tls_node.port}/"
    async with bridges(url, **variables(authority)) as bridge:
        await until(lambda: bridge.log.counts["broker_unreachable"], what="it cannot connect")

    assert "nobody speaks TLS there" in bridge.log.latest["broker_unreachable"]["error"]
