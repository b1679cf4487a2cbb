"""The sender over real sockets: what it posts, when it tries again, and when it gives up."""

import asyncio
import socket
from dataclasses import replace

import pytest

from bridge.dev.superoffice.ledger import Cause, Fate
from bridge.dev.superoffice.lifecycle import State
from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition
from tests.helpers import eventually

ONE_THREAD = Rules(threads=1)


def sent(client, event="contact.created", count=1, **options):
    """Raise an event some times; return the entries of the ledger that are new."""
    before = len(client.twin.ledger.entries)
    for _ in range(count):
        client.twin.tenant.raise_event(event, **options)
    return client.twin.ledger.entries[before:]


async def idle(client):
    """Wait until nothing is to be sent."""
    await asyncio.wait_for(client.twin.tenant.sender.idle(), 30)


async def test_a_signed_event(client, receiver):
    """An event comes once, as SuperOffice sends it, signed over the bytes of the wire."""
    await client.make(receiver.url, Headers={"X-Own": "1"}, Properties={"Place": {"city": "Oslo"}})
    [entry] = sent(client, primary_key=4711, changed_by=12)
    await idle(client)

    [received] = receiver.events
    assert ("/webhook", "1") == (received.path, received.headers["X-Own"])
    assert "application/json; charset=utf-8" == received.headers["Content-Type"]
    assert received.headers["User-Agent"].startswith("NetServer-Webhook/")
    assert "contact.created" == received.headers["X-SuperOffice-Event"]
    assert entry.event_id == received.headers["X-SuperOffice-EventId"]
    assert "X-SuperOffice-Retry" not in received.headers
    assert received.is_signed_with("nøkkel".encode())
    content = received.content
    assert (entry.event_id, "contact.created") == (content["EventId"], content["Event"])
    assert ("crm-sync", "Cust12345") == (content["WebhookName"], content["ContextIdentifier"])
    assert (4711, 12) == (content["PrimaryKey"], content["ChangedByAssociateId"])
    assert {"city": "Oslo"} == content["Place"]
    assert (Fate.ACCEPTED, 200) == (entry.fate, entry.attempts[0].status)


@pytest.mark.parametrize("secret", [None, ""])
async def test_without_a_secret(client, receiver, secret):
    """A webhook without a secret is not signed, its test neither."""
    await client.make(receiver.url, Secret=secret)
    sent(client)
    await idle(client)

    assert 2 == len(receiver.received)
    assert not any("X-SuperOffice-Signature" in one.headers for one in receiver.received)


async def test_what_superoffice_sends_wins(client, receiver):
    """Neither Properties nor Headers of a webhook replace what SuperOffice sends itself."""
    await client.make(
        receiver.url, Properties={"EventId": "mine"}, Headers={"X-SuperOffice-EventId": "mine"}
    )
    [entry] = sent(client)
    await idle(client)

    [received] = receiver.events
    assert entry.event_id == received.content["EventId"]
    assert entry.event_id == received.headers["X-SuperOffice-EventId"]


async def test_three_attempts(client, receiver):
    """An event is tried three times, with the same id and body, after 1 s and 4 s of its clock."""
    await client.make(receiver.url)
    receiver.status = 503
    [entry] = sent(client)
    await idle(client)

    assert 3 == len(receiver.events)
    assert 1 == len({one.body for one in receiver.events})
    assert [None, "1", "2"] == [one.headers.get("X-SuperOffice-Retry") for one in receiver.events]
    assert {entry.event_id} == {one.content["EventId"] for one in receiver.events}
    assert (Fate.DISCARDED, Cause.FAILED) == (entry.fate, entry.cause)
    assert 1 == (await client.get())["ConsecutiveErrors"]
    first, second, third = entry.attempts
    speed = client.twin.clock.speed
    assert 0.9 <= (second.begun - first.ended).total_seconds() * speed
    assert 3.6 <= (third.begun - second.ended).total_seconds() * speed
    assert 4.0 > (third.begun - first.begun).total_seconds()  # so it was sped up


async def test_redirects_are_not_followed(client, receiver):
    """A redirect is a failure, and where it leads nothing is posted."""
    await client.make(receiver.url)
    receiver.script.append(307)
    sent(client)
    await idle(client)

    assert ["/webhook", "/webhook"] == [one.path for one in receiver.events]


@pytest.mark.parametrize("status", [201, 202, 204, 301, 302, 400, 401, 404, 429, 500, 503])
async def test_only_200_is_success(client, receiver, status):
    """Every other status is a failure, other 2xx and redirects too."""
    await client.make(receiver.url)
    receiver.script.append(status)
    [entry] = sent(client)
    await idle(client)

    assert [status, 200] == [attempt.status for attempt in entry.attempts]
    assert (Fate.ACCEPTED, 2) == (entry.fate, len(receiver.events))


async def test_nothing_listens(client, receiver):
    """Where nobody listens an attempt fails without a status, and says why."""
    await client.make(receiver.url)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    webhook = client.twin.tenant.webhooks[1]
    members = {**webhook.definition.members, "TargetUrl": f"http://127.0.0.1:{port}/"}
    webhook.definition = replace(webhook.definition, members=members)
    [entry] = sent(client)
    await idle(client)

    assert [None] * 3 == [attempt.status for attempt in entry.attempts]
    assert all("Connect call failed" in attempt.error for attempt in entry.attempts)
    assert "Connect call failed" in webhook.standing.last_error


async def test_an_answer_that_does_not_come(twins, receiver):
    """An answer is waited for so long, in real seconds."""
    async with twins(Rules(request_seconds=0.2, pauses=())) as client:
        await client.make(receiver.url)
        receiver.decide = lambda received: asyncio.sleep(60)
        [entry] = sent(client)
        await idle(client)

        assert [None] == [attempt.status for attempt in entry.attempts]
        assert "TimeoutError" == entry.attempts[0].error


async def test_nine_failures_switch_off(twins, receiver):
    """After nine failed attempts in a row, of three events, nothing is sent any more."""
    async with twins(ONE_THREAD) as client:
        await client.make(receiver.url)
        receiver.status = 500
        for failed in (1, 2):
            sent(client)
            await idle(client)
            shown = await client.get()
            assert ("Active", failed) == (shown["State"], shown["ConsecutiveErrors"])
        sent(client)
        await idle(client)
        shown = await client.get()
        assert ("TooManyErrors", 3, 9) == (
            shown["State"],
            shown["ConsecutiveErrors"],
            shown["TotalErrors"],
        )

        [entry] = sent(client)
        assert (Fate.DISCARDED, Cause.OFF, []) == (entry.fate, entry.cause, entry.attempts)
        await idle(client)
        assert 9 == len(receiver.events)


async def test_nine_events_by_the_other_reading(twins, receiver):
    """With 27 attempts it takes nine events, which is how the user interface counts."""
    async with twins(Rules(threads=1, failures_until_off=27, pauses=(0.0, 0.0))) as client:
        await client.make(receiver.url)
        receiver.status = 500
        sent(client, count=8)
        await idle(client)
        assert "Active" == (await client.get())["State"]
        sent(client)
        await idle(client)
        assert "TooManyErrors" == (await client.get())["State"]


async def test_a_success_begins_anew(twins, receiver):
    """One 200 resets the count of failures, and the count that is shown."""
    async with twins(ONE_THREAD) as client:
        await client.make(receiver.url)
        receiver.script.extend([500] * 8 + [200] + [500] * 8 + [200])
        for _ in range(6):
            sent(client)
            await idle(client)

        shown = await client.get()
        assert ("Active", 0) == (shown["State"], shown["ConsecutiveErrors"])
        assert (18, 16) == (shown["TotalCalls"], shown["TotalErrors"])


async def test_gone_switches_off_at_once(client, receiver):
    """One 410 is enough, and the event is not tried again."""
    await client.make(receiver.url)
    receiver.script.append(410)
    [entry] = sent(client)
    await idle(client)

    assert (1, Cause.GONE) == (len(receiver.events), entry.cause)
    shown = await client.get()
    assert ("TooManyErrors", 1) == (shown["State"], shown["ConsecutiveErrors"])
    assert shown["LastError"].endswith("\nanswer 410")


async def test_a_later_event_overtakes(twins, receiver):
    """While an event waits for its next attempt a later one of the same record arrives."""
    async with twins(Rules(pauses=(2.0,)), speed=1) as client:
        await client.make(receiver.url, "contact.created", "contact.changed")
        receiver.script.append(500)
        [first] = sent(client, "contact.created", primary_key=5)
        await eventually(lambda: first.attempts)
        [second] = sent(client, "contact.changed", primary_key=5)
        await idle(client)

    accepted = [one.content["EventId"] for one in receiver.events[1:]]
    assert [second.event_id, first.event_id] == accepted


async def test_threads(twins, receiver):
    """So many requests are open at a time, and no more."""
    open_now, most = 0, 0
    release = asyncio.Event()

    async def decide(received):
        nonlocal open_now, most
        if received.headers["X-SuperOffice-Event"] == "test":
            return 200
        open_now += 1
        most = max(most, open_now)
        await release.wait()
        open_now -= 1
        return 200

    receiver.decide = decide
    async with twins(Rules(threads=3)) as client:
        await client.make(receiver.url)
        sent(client, count=10)
        await eventually(lambda: open_now == 3)
        release.set()
        await idle(client)

    assert (3, 10) == (most, len(receiver.events))


async def test_an_event_for_several(client, receiver):
    """Each webhook that names the event gets it, under one id, with its own name and secret."""
    await client.make(receiver.url, Name="one")
    await client.make(receiver.url, "contact.created", "sale.sold", Name="two", Secret="other")
    await client.make(receiver.url, "contact.changed", Name="three")
    entries = sent(client)
    await idle(client)

    assert [1, 2] == [entry.webhook_id for entry in entries]
    assert 1 == len({entry.event_id for entry in entries})
    by_name = {one.content["WebhookName"]: one for one in receiver.events}
    assert {"one", "two"} == set(by_name)
    assert by_name["two"].is_signed_with(b"other")
    assert by_name["one"].is_signed_with("nøkkel".encode())


@pytest.mark.parametrize("event", ["contact.*", "*", "contact", "CONTACT.CREATED"])
async def test_there_are_no_wildcards(client, receiver, event):
    """A webhook gets what it names exactly; what nobody wants is in the ledger."""
    await client.make(receiver.url, event)
    [entry] = sent(client)
    await idle(client)

    assert [] == receiver.events
    assert (None, Cause.NO_WEBHOOK) == (entry.webhook_id, entry.cause)


@pytest.mark.parametrize("state", [State.STOPPED, State.DELETED])
async def test_ended_between_attempts(twins, receiver, state):
    """A webhook that is stopped or deleted loses what waits for its next attempt."""
    async with twins(Rules(pauses=(2.0,)), speed=1) as client:
        await client.make(receiver.url)
        webhook = client.twin.tenant.webhooks[1]
        receiver.status = 500
        [entry] = sent(client)
        await eventually(lambda: entry.attempts)
        if state is State.DELETED:
            client.twin.tenant.delete(webhook)
        else:
            await client.twin.tenant.set_state_by_hand(webhook, state)
        await idle(client)

    assert {State.STOPPED: Cause.OFF, State.DELETED: Cause.DELETED}[state] is entry.cause
    assert [500] == [attempt.status for attempt in entry.attempts]
    assert (1, 0) == (len(receiver.events), webhook.standing.consecutive_errors)


async def test_a_change_between_attempts(twins, receiver):
    """The next attempt goes where the webhook points then, signed with its new secret."""
    async with twins(Rules(pauses=(2.0,)), speed=1) as client:
        await client.make(receiver.url)
        receiver.script.append(500)
        [entry] = sent(client)
        await eventually(lambda: entry.attempts)
        changes = {"Secret": "new", "TargetUrl": f"{receiver.url}/moved"}
        await client.call("PATCH", "/v1/Webhook/1", changes)
        await idle(client)

    [first, second] = receiver.events
    assert ("/webhook", "/moved") == (first.path, second.path)
    assert first.is_signed_with("nøkkel".encode())
    assert second.is_signed_with(b"new")


async def test_recycled(twins, receiver):
    """A queue that is lost leaves a webhook active and without errors: only the ledger knows."""
    async with twins(speed=1.0) as client:
        await client.make(receiver.url)
        receiver.script.append(500)
        [entry] = sent(client)
        await eventually(lambda: entry.attempts)
        await client.twin.tenant.sender.recycle()

        assert (Fate.DISCARDED, Cause.RECYCLED) == (entry.fate, entry.cause)
        shown = await client.get()
        assert ("Active", 0) == (shown["State"], shown["ConsecutiveErrors"])
        assert [] == list(client.twin.ledger.waiting())


@pytest.mark.parametrize(
    ("happening", "action"), [("stop", "stopped"), ("start", "started"), ("errors", "errors")]
)
async def test_state_events(client, receiver, happening, action):
    """A second webhook that names the first one's state events gets them, as documented."""
    await client.make(receiver.url)
    names = [f"webhook1.{action}" for action in ("started", "stopped", "errors")]
    await client.make(receiver.url, *names, Name="states", TargetUrl=f"{receiver.url}/states")
    tenant = client.twin.tenant
    if happening == "errors":
        receiver.script.append(410)
        sent(client)
    else:
        await tenant.set_state_by_hand(tenant.webhooks[1], State.STOPPED)
    if happening == "start":
        await tenant.set_state_by_hand(tenant.webhooks[1], State.ACTIVE)
    await idle(client)

    received = [one for one in receiver.events if one.path == "/states"][-1]
    content = received.content
    assert f"webhook1.{action}" == received.headers["X-SuperOffice-Event"]
    assert (f"webhook.{action}", 1, 0) == (
        content["Event"],
        content["PrimaryKey"],
        content["ChangedByAssociateId"],
    )
    assert "Entity" not in content
    assert 2 == content["FieldValues"]["state"]
    assert {"events", "registered", "updated"} <= set(content["FieldValues"])


async def test_https_only(twins, receiver):
    """Where https is required a target without it is not saved, and nothing is posted."""
    async with twins(Rules(require_https=True)) as client:
        content = definition(receiver.url, "contact.created")
        status, answer, _ = await client.call("POST", "/v1/Webhook", content)

    assert 500 == status
    assert answer["ErrorMessage"].endswith("the URL must be https")
    assert [] == receiver.received


async def test_a_header_that_cannot_be_sent(client, receiver):
    """A header that would break the request is a failure of that webhook, and of nothing else."""
    content = definition(receiver.url, "contact.created", Headers={"X-Own": "a\r\nb"})
    status, _, _ = await client.call("POST", "/v1/Webhook", content)

    assert 500 == status
    await client.make(receiver.url)


async def test_the_query_stays(client, receiver):
    """Path and query of a target are posted to as they were registered."""
    path = "/a%2fb/%7E?action=safeParse&key=a%20b+c%3D"
    await client.make(receiver.url, TargetUrl=f"{receiver.url}{path}")

    assert [path] == [one.path for one in receiver.tests]
