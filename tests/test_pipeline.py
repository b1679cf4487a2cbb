"""Whatever is sent, the sender gets one of our answers, and 200 only for what somebody took."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bridge.core.errors import PayloadInvalid, Rejected, SignatureInvalid
from bridge.core.event import Delivery
from bridge.core.message import PARKED, Message
from bridge.core.publish import Outcome
from bridge.core.reasons import RejectReason, Status
from bridge.core.routing import Route, Router
from bridge.delivery.dedup import Dedup
from bridge.metrics import Metrics
from bridge.pipeline import Endpoint, Pipeline, Receipt
from bridge.superoffice.signature import sign
from tests.strategies.json_texts import joined, strings, texts, values
from tests.strategies.oracles import is_key, read
from tests.strategies.webhooks import bodies, deliveries, header_values
from tests.values import changed

SECRET = b"Something Super Secret"
TAKEN = (Outcome.CONFIRMED, Outcome.UNROUTED, Outcome.SPOOLED)

ENDPOINTS = st.builds(
    Endpoint,
    name=st.just("superoffice"),
    secrets=st.just([SECRET]),
    allow_unsigned=st.booleans(),
    contexts=st.frozensets(st.sampled_from(("Cust20001", "Default")), max_size=2),
    publish_test_events=st.booleans(),
    source=st.sampled_from((None, "/superoffice/oslo")),
)

CONTEXTS = st.builds(
    lambda context: joined((("Event", '"contact.changed"'), ("ContextIdentifier", context))),
    strings() | values() | st.sampled_from(('"Cust20001"', '""', "[]", "{}", "null")),
).map(str.encode)

BODIES = bodies() | st.binary(max_size=99) | CONTEXTS

DELIVERIES = deliveries(body=BODIES).map(lambda delivery: changed(delivery, endpoint="superoffice"))


class Memory:
    """An outbox that keeps what it is given and answers as it was told."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.messages: list[Message] = []
        self._outcomes = list(outcomes)

    def deliver(self, message: Message, settled: Callable[[Outcome], None]) -> None:
        """Keep a message."""
        self.messages.append(message)
        settled(self._outcomes.pop(0))


def answers(
    endpoint: Endpoint,
    outbox: Memory,
    *attempts: tuple[Delivery, list[str]],
    routes: tuple[Route, ...] = (),
) -> list[Receipt | Rejected]:
    """Return what the attempts, one after another, are answered: nothing but rejections fails."""
    pipeline = Pipeline(
        {endpoint.name: endpoint},
        router=Router(routes, exchange="superoffice"),
        outbox=outbox,
        dedup=Dedup(window=600, max_events=100, clock=lambda: 0.0),
        metrics=METRICS,
    )

    found: list[Receipt | Rejected] = []

    def answer(answer: Receipt | Exception) -> None:
        assert isinstance(answer, Receipt | Rejected)
        found.append(answer)

    for number, (delivery, signatures) in enumerate(attempts, 1):
        pipeline.receive(delivery, signatures=signatures, answer=answer)
        assert number == len(found)  # each is answered once
    return found


METRICS = Metrics()


@given(ENDPOINTS, DELIVERIES, st.lists(header_values(), max_size=2))
def test_nothing_unsigned_gets_in(endpoint, delivery, headers):
    """Without the right signature nothing happens, and the rejection is of our kind."""
    endpoint = dataclasses.replace(endpoint, allow_unsigned=False)
    outbox = Memory()
    (answer,) = answers(endpoint, outbox, (delivery, headers))

    assert isinstance(answer, SignatureInvalid)
    assert [] == outbox.messages


@given(ENDPOINTS, DELIVERIES, st.sampled_from(list(Outcome)))
def test_every_authentic_delivery_has_an_answer(endpoint, delivery, outcome):
    """Any body: taken and answered 200, or rejected for its context, or try again."""
    endpoint = dataclasses.replace(endpoint, allow_unsigned=False)
    outbox = Memory(outcome)
    (answer,) = answers(endpoint, outbox, (delivery, [sign(delivery.body, secret=SECRET)]))

    if isinstance(answer, Receipt):
        assert outcome in TAKEN or "ignored" == answer.status
        assert answer.id
        assert [answer.id] * (answer.status != "ignored") == [
            message.message_id for message in outbox.messages
        ]
    elif answer.reason == RejectReason.CONTEXT:
        assert endpoint.contexts
        assert [] == outbox.messages
    else:
        assert outcome not in TAKEN
        assert outcome.value == answer.reason


@given(ENDPOINTS, DELIVERIES)
def test_what_cannot_be_understood_is_parked_or_refused(endpoint, delivery):
    """Signed: parked with its bytes and the reason. Unsigned: refused with the same reason."""
    try:
        read(delivery.body)
        assume(False)
    except ValueError as error:
        reason = str(error)
    outbox = Memory(Outcome.CONFIRMED)
    (answer,) = answers(endpoint, outbox, (delivery, [sign(delivery.body, secret=SECRET)]))

    if endpoint.allow_unsigned:
        assert isinstance(answer, PayloadInvalid)
        assert reason == answer.reason
        assert [] == outbox.messages
    else:
        (message,) = outbox.messages
        assert Receipt(Status.PARKED, message.message_id, reason) == answer
        assert (PARKED, delivery.body) == (message.exchange, message.body)


@given(ENDPOINTS, CONTEXTS)
def test_a_foreign_context_is_refused(endpoint, body):
    """A ContextIdentifier of any type and value passes only if the endpoint names it."""
    context = read(body)["ContextIdentifier"]
    named = type(context) is str and context in endpoint.contexts
    delivery = Delivery("superoffice", body, 0)
    attempt = (delivery, [sign(body, secret=SECRET)])
    (answer,) = answers(endpoint, Memory(Outcome.CONFIRMED), attempt)

    assert (named or context is None or not endpoint.contexts) == isinstance(answer, Receipt)


@given(ENDPOINTS, DELIVERIES, st.sampled_from(list(Outcome)))
def test_a_repeat_is_a_duplicate_once_somebody_took_the_event(endpoint, delivery, outcome):
    """The second attempt does the work if the first one failed, and else none."""
    outbox = Memory(outcome, Outcome.CONFIRMED)
    attempt = (delivery, [sign(delivery.body, secret=SECRET)])
    first, second = answers(endpoint, outbox, attempt, attempt)

    if isinstance(first, Receipt) and first.status in ("published", "unrouted", "spooled"):
        assert Receipt(Status.DUPLICATE, first.id) == second
        assert 1 == len(outbox.messages)
    elif first.reason == outcome.value:
        assert isinstance(second, Receipt)
        assert second.status in ("published", "parked")
        assert outbox.messages[0] == outbox.messages[1]


@given(DELIVERIES, st.none() | texts())
def test_a_raw_route_keeps_the_bytes(delivery, source):
    """From request to message the body is identical, and its key is legal all the same."""
    endpoint = Endpoint("superoffice", [SECRET], publish_test_events=True, source=source)
    outbox = Memory(Outcome.CONFIRMED)
    attempt = (delivery, [sign(delivery.body, secret=SECRET)])
    (answer,) = answers(endpoint, outbox, attempt, routes=(Route("#", "raw", raw=True),))
    assert isinstance(answer, Receipt)
    (message,) = outbox.messages

    assert delivery.body == message.body
    assert ("parked" == answer.status) == (PARKED == message.exchange)
    assert is_key(message.routing_key)


GUID = "0b7e5b0c-6f3d-4f7e-9a51-0d0c2f6f9b11"


@pytest.mark.parametrize("event_id", ["00000000-0000-0000-0000-000000000000", "0b7e", GUID, None])
@pytest.mark.parametrize(
    "changes",
    [
        {"PrimaryKey": 2},
        {"Event": "contact.changed"},
        {"WebhookName": "another"},
        {"ContextIdentifier": "Cust2"},
        {"PrimaryKey": "1x"},
        {"PrimaryKey": 1.5},
        {"PrimaryKey": [1]},
        {"ContextIdentifier": 1},
        {"WebhookName": 1},
        {"Entity": "person"},
        {"PrimaryKey": None},
    ],
)
def test_two_events_are_not_one(event_id, changes):
    """Whatever id two events share, both are taken: one difference is enough."""
    event = {"EventId": event_id, "Event": "contact.created", "PrimaryKey": 1}
    bodies = [json.dumps(each).encode() for each in (event, {**event, **changes}, event)]
    outbox = Memory(Outcome.CONFIRMED, Outcome.CONFIRMED)
    found = answers(
        Endpoint("superoffice", secrets=[SECRET]),
        outbox,
        *((Delivery("superoffice", body, 0), [sign(body, secret=SECRET)]) for body in bodies),
    )

    statuses = [answer.status for answer in found if isinstance(answer, Receipt)]
    assert ["published", "published", "duplicate"] == statuses
    first, second, again = (answer.id for answer in found if isinstance(answer, Receipt))
    assert first == again != second
    assert [first, second] == [json.loads(message.body)["id"] for message in outbox.messages]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PrimaryKey", (1.5, 2.5)),
        ("PrimaryKey", ([1], [2])),
        ("PrimaryKey", (True, False)),
        ("ContextIdentifier", (1, 2)),
        ("WebhookName", (1, 2)),
        ("Entity", ("person", "sale")),
        ("FieldValues", ({"contact_id": 1}, {"contact_id": 2})),
    ],
)
def test_two_events_are_not_one_where_nobody_can_read_the_difference(name, values):
    """One EventId, and a property of no use; or no record at all, and then any property."""
    event = {"EventId": GUID, "Event": "contact.created", "PrimaryKey": 1}
    if name == "FieldValues":
        del event["PrimaryKey"]
    one, other = (json.dumps({**event, name: value}).encode() for value in values)
    found = answers(
        Endpoint("superoffice", secrets=[SECRET]),
        outbox := Memory(Outcome.CONFIRMED, Outcome.CONFIRMED),
        *((Delivery("superoffice", body, 0), [sign(body, secret=SECRET)]) for body in (one, other)),
    )

    assert ["published"] * 2 == [getattr(answer, "status", answer) for answer in found]
    assert 2 == len({message.message_id for message in outbox.messages})


NIL = "00000000-0000-0000-0000-000000000000"
NO_IDENTITIES: tuple[object, ...] = (
    *("0", "1", "-1", "0x0", "0.0", "1e0", "42", "\uff10\uff10\uff10", "\u0661", "\u2460"),
    *(
        "",
        " ",
        "\t",
        "\0",
        "a\x01b",
        "\x7f",
        "\x85",
        "\xa0",
        "\u200b",
        "\ufeff",
        "\u2060",
        "\U000e0001",
    ),
    *("null", "None", "undefined", "unknown", "string", "test", "id", "guid", "EventId", "{{id}}"),
    *(
        NIL,
        f"{{{NIL}}}",
        f"urn:uuid:{NIL}",
        NIL.replace("-", ""),
        f"{NIL}-0",
        f" {NIL}",
        f"{NIL}\n",
    ),
    *("f" * 8 + "-ffff-ffff-ffff-" + "f" * 12, "88888888-8888-8888-8888-888888888888"),
    *("00000000-0000-4000-8000-000000000000", "00000000-0000-0000-0000-000000000001"),
    *("12345678-1234-1234-1234-123456789012", "01234567-89ab-cdef-0123-456789abcdef"),
    *(f"{GUID}x", f"{GUID}\n", "x\ufffey", "ø", "x" * 500, 0, 0.0, False, [], {}, None),
)


@pytest.mark.parametrize("event_id", NO_IDENTITIES, ids=ascii)
def test_what_is_no_identity_swallows_nothing(event_id):
    """Two changes of one record whose id says nothing are two; the same body again is a repeat."""
    event = {"EventId": event_id, "Event": "contact.changed", "PrimaryKey": 7}
    bodies = [json.dumps({**event, "ChangedByAssociateId": by}).encode() for by in (1, 2, 1, 2)]
    found = answers(
        Endpoint("superoffice", secrets=[SECRET]),
        outbox := Memory(Outcome.CONFIRMED, Outcome.CONFIRMED),
        *((Delivery("superoffice", body, 0), [sign(body, secret=SECRET)]) for body in bodies),
    )

    statuses = [getattr(answer, "status", answer) for answer in found]
    assert ["published", "published", "duplicate", "duplicate"] == statuses
    assert 2 == len({message.message_id for message in outbox.messages})
    for message in outbox.messages:
        attributes = {**json.loads(message.body), "data": "-"}
        assert all(re.fullmatch("[!-~]+", text) for text in attributes.values())


def test_attempts_with_a_guid_may_differ():
    """What SuperOffice sends is told by its id, whatever else an attempt says."""
    event = {"EventId": GUID, "Event": "contact.changed", "PrimaryKey": 7}
    bodies = [json.dumps({**event, "ChangedByAssociateId": by}).encode() for by in (1, 2)]
    found = answers(
        Endpoint("superoffice", secrets=[SECRET]),
        Memory(Outcome.CONFIRMED),
        *((Delivery("superoffice", body, 0), [sign(body, secret=SECRET)]) for body in bodies),
    )

    assert ["published", "duplicate"] == [getattr(answer, "status", answer) for answer in found]
