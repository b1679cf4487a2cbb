"""Returned messages: whose they are, and where their copies go."""

from pamqp import commands
from structlog.testing import capture_logs

from bridge.broker.topology import Topology
from bridge.core.message import UNROUTED
from bridge.core.publish import Outcome
from tests.broker.peer import Peer
from tests.broker.test_publisher import outcome_of, publish_all
from tests.broker.test_topology_check import saying
from tests.helpers import amqp, consumer_queue, drain, eventually, message
from tests.values import changed


def return_altered(published):
    """Return what goes to no queue, with the headers that a broker has added on entry."""
    if published.method.routing_key == "nobody.bound" and published.method.exchange != UNROUTED:
        headers = {"x-routed-by": "rabbit@a", "timestamp_in_ms": 1_772_442_927_000}
        published.give_back(**headers, entity="replaced")
    published.ack()


async def test_broker_that_adds_headers_on_entry(publishing):
    """A message that comes back altered is copied like any other, on the same channel."""
    keys = ("contact.created", "nobody.bound")
    async with (
        Peer(on_publish=return_altered) as peer,
        publishing(urls=(peer.url,)) as publisher,
    ):
        messages = [message(n, key=keys[n % 2]) for n in range(40)]
        outcomes = await publish_all(publisher, messages)
        assert 1 == publisher.connection

    assert [Outcome.CONFIRMED, Outcome.UNROUTED] * 20 == outcomes
    copies = [each.header.properties for each in peer.published if each.method.exchange == UNROUTED]
    assert [f"event-{n}" for n in range(1, 40, 2)] == [copy.message_id for copy in copies]
    assert {"contact"} == {copy.headers["entity"] for copy in copies}


async def test_refused_copies_are_logged_within_bounds(publishing):
    """Events that no queue takes, nor the quarantine, have a hundred lines in a minute."""

    def return_all(published):
        published.give_back()
        published.ack()

    refusal = {UNROUTED: commands.Channel.Close(404, "NOT_FOUND", 40, 10)}
    with capture_logs() as logs:
        async with (
            Peer(on_publish=return_all, refuse=saying(refusal)) as peer,
            publishing(urls=(peer.url,), wait=False) as publisher,
        ):
            await eventually(lambda: publisher.is_up and publisher.can_publish_to("superoffice"))
            outcomes = await publish_all(publisher, [message(n) for n in range(200)])

    assert {Outcome.REFUSED} == set(outcomes)
    assert 100 == len([line for line in logs if line["event"] == "unrouted_refused"])


async def test_returned_messages_that_are_equal_but_for_one_part(publishing, broker):
    """Headers, bodies and exchanges tell returned messages apart, not the id alone."""
    consumer_queue(broker, "all", "#")
    consumer_queue(broker, "contacts", "nothing", exchange="other")
    wanted = Topology.of(["superoffice", "other"])
    variants = [
        message(1),
        message(1, exchange="other"),
        message(1, body=b"{}", exchange="other"),
        message(1, headers={"endpoint": "x"}, exchange="other"),
    ]
    async with publishing(wanted=wanted) as publisher:
        outcomes = await publish_all(publisher, variants)

    assert outcomes == [Outcome.CONFIRMED, *[Outcome.UNROUTED] * 3]
    found = {(p.headers["endpoint"], body) for _, p, body in drain(broker, UNROUTED)}
    assert {
        ("superoffice", b'{"number":1}'),
        ("superoffice", b"{}"),
        ("x", b'{"number":1}'),
    } == found


async def test_unrouted_copy_names_its_origin(publishing, broker):
    """The copy in superoffice.unrouted is the message, plus where it was meant to go."""
    async with publishing() as publisher:
        outcome = await outcome_of(publisher, message(1, key="sale.sold"))

    [(method, properties, body)] = drain(broker, UNROUTED)
    assert outcome is Outcome.UNROUTED
    assert ("sale.sold", b'{"number":1}') == (method.routing_key, body)
    assert "event-1" == properties.message_id
    assert "superoffice" == properties.headers["original_exchange"]
    assert "sale.sold" == properties.headers["original_routing_key"]
    assert "contact" == properties.headers["entity"]


async def test_unrouted_without_its_queue_is_refused(publishing, broker):
    """When even the quarantine takes nothing, nobody has the event, and the outcome says so."""
    async with publishing() as publisher:
        with amqp(broker) as channel:
            channel.queue_delete(UNROUTED)
        outcome = await outcome_of(publisher, message(1))

    assert outcome is Outcome.REFUSED


async def test_return_matches_only_what_is_equal(publishing, broker):
    """A message equal in all but its headers' values is another message."""
    consumer_queue(broker, "all", "#")
    async with publishing() as publisher:
        one = message(1, key="x.y")
        other = changed(one, headers={**one.headers, "primary_key": 2})
        outcomes = await publish_all(publisher, [one, other])

    assert [Outcome.CONFIRMED, Outcome.CONFIRMED] == outcomes
