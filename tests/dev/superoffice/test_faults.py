"""Faults on command, and the control routes."""

import asyncio
import time

import aiohttp
import pytest

from bridge.dev.superoffice.faults import GARBAGE, Faults, Trouble
from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition

V1 = "/v1/Webhook"


async def raw(client, path=V1):
    """Return the status, type and bytes of an answer of the API."""
    url = f"{client.twin.api_url}{path}"
    async with client.session.get(url, headers=client.headers) as response:
        return response.status, response.content_type, await response.read()


async def test_refused_saves(client, receiver):
    """A save may be refused although its test was answered 200."""
    client.twin.faults.refuse_saves = True
    content = definition(receiver.url, "a.b")

    assert 500 == (await client.call("POST", V1, content))[0]
    assert 1 == len(receiver.tests)
    client.twin.faults.refuse_saves = False
    assert 200 == (await client.call("POST", V1, content))[0]


async def test_no_patch(client, receiver):
    """PATCH may be missing; PUT is there."""
    await client.make(receiver.url)
    client.twin.faults.no_patch = True

    assert 405 == (await client.call("PATCH", f"{V1}/1", {"Name": "x"}))[0]
    content = definition(receiver.url, "a.b", Name="x")
    assert "x" == (await client.call("PUT", f"{V1}/1", content))[1]["Name"]


async def test_a_masked_secret(client, receiver):
    """A client that writes back what it read signs with the mask; a PATCH leaves the Secret."""
    await client.make(receiver.url)
    client.twin.faults.mask_secret = True
    shown = await client.get()
    await client.call("PATCH", f"{V1}/1", {"Name": "x"})
    kept = receiver.tests[-1].is_signed_with("nøkkel".encode())
    await client.call("PUT", f"{V1}/1", shown)

    assert ("********", True) == (shown["Secret"], kept)
    assert receiver.tests[-1].is_signed_with(b"********")


async def test_no_secret_is_not_masked(client, receiver):
    """Where there is no Secret none is shown."""
    await client.make(receiver.url, Secret=None)
    client.twin.faults.mask_secret = True

    assert (await client.get())["Secret"] is None


@pytest.mark.parametrize(("status", "seconds"), [(429, 7), (503, None), (500, None), (502, 0)])
async def test_busy(client, status, seconds):
    """Everything may be refused, with a Retry-After or without; afterwards it works again."""
    client.twin.faults.api = Trouble(status=status, retry_after=seconds)
    got, answer, headers = await client.call("GET", V1)

    assert (status, True) == (got, answer["Error"])
    assert (None if seconds is None else str(seconds)) == headers.get("Retry-After")
    client.twin.faults.api = Trouble()
    assert 200 == (await client.call("GET", V1))[0]


async def test_slow(client):
    """An answer may take its time."""
    client.twin.faults.api.delay = 0.3
    begun = time.monotonic()
    status, *_ = await client.call("GET", V1)

    assert 200 == status
    assert 0.3 <= time.monotonic() - begun


async def test_garbage(client, receiver):
    """Every kind of nonsense comes in turn, with 200, while the request is done."""
    client.twin.faults.api.garbage = True
    bodies = [await raw(client) for _ in range(len(GARBAGE) + 1)]
    content = definition(receiver.url, "a.b")
    url = f"{client.twin.api_url}{V1}"
    async with client.session.post(url, json=content, headers=client.headers) as response:
        assert 200 == response.status

    assert [(200, *one) for one in (*GARBAGE, GARBAGE[0])] == bodies
    assert [1] == list(client.twin.tenant.webhooks)


async def test_hanging_up(client):
    """A connection may end without an answer; the ledger has no status for that."""
    client.twin.faults.api.hangs_up = True
    with pytest.raises(aiohttp.ClientError):
        await client.call("GET", V1)

    assert client.twin.ledger.calls[-1].status is None


async def test_trouble_with_the_login(client):
    """API and authentication host have their own troubles."""
    client.twin.faults.login = Trouble(status=503)
    async with client.session.get(f"{client.twin.login_url}/api/state/Cust12345") as response:
        assert 503 == response.status

    assert 200 == (await client.call("GET", V1))[0]


async def test_expired_tokens(client):
    """All tokens may die at once; a new one works."""
    await client.twin.expire()

    assert 401 == (await client.call("GET", V1))[0]
    await client.log_in()
    assert 200 == (await client.call("GET", V1))[0]


async def test_a_link_that_leads_away(client, receiver):
    """A list may name a next page that must not be asked for."""
    await client.make(receiver.url)
    client.twin.faults.next_link = f"{receiver.url}/elsewhere"
    query = {"$select": "webhook_usage.total_calls"}
    _, usage, _ = await client.call("GET", "/v1/Archive/dynamic", params=query)

    assert f"{receiver.url}/elsewhere" == usage["odata.nextLink"]


def test_faults_as_data():
    """Faults are read back as they are written; a name that there is not is an error."""
    faults = Faults(api=Trouble(status=429, retry_after=5), no_patch=True)

    assert faults == Faults.of(faults.as_data())
    assert Faults() == Faults.of({})
    for content in ({"nonsense": 1}, {"api": {"nonsense": 1}}, {"api": 5}):
        with pytest.raises(TypeError):
            Faults.of(content)


class TestControl:
    """The control routes, for programs in other processes."""

    async def test_faults(self, client):
        """Faults are set all together, and told."""
        _, before, _ = await client.control("GET", "/faults")
        status, *_ = await client.control("PUT", "/faults", {"api": {"status": 429}})
        refused = await client.call("GET", V1)
        wrong = await client.control("PUT", "/faults", {"nonsense": 1})
        _, after, _ = await client.control("PUT", "/faults", {})

        assert (200, 429, 400) == (status, refused[0], wrong[0])
        assert before == after == Faults().as_data()

    async def test_events_and_ledger(self, client, receiver):
        """Events are raised, awaited and found in the ledger, as data."""
        await client.make(receiver.url)
        content = {"event": "contact.created", "primary_key": 5, "count": 3}
        _, raised, _ = await client.control("POST", "/events", content)
        await client.control("POST", "/idle")
        _, ledger, _ = await client.control("GET", "/ledger")

        entries = ledger["entries"]
        assert raised["event_ids"] == [entry["event_id"] for entry in entries]
        assert {("accepted", None, 5, 1)} == {
            (one["fate"], one["cause"], one["primary_key"], one["webhook_id"]) for one in entries
        }
        assert [200, 200, 200] == [one["attempts"][0]["status"] for one in entries]
        assert ["Active"] == [change["after"] for change in ledger["changes"]]
        assert {"event", "raised", "settled"} <= set(ledger["tests"][0])

    async def test_a_person(self, client, receiver):
        """A person makes, stops, starts and deletes webhooks."""
        content = definition(receiver.url, "a.b")
        _, made, _ = await client.control("POST", "/webhooks", content)
        path = f"/webhooks/{made['WebhookId']}"
        answers = [
            await client.control("PUT", f"{path}/state", {"State": state})
            for state in ("Stopped", "Active", "TooManyErrors")
        ]
        deleted = await client.control("DELETE", path)
        again = await client.control("DELETE", path)

        assert [204, 204, 400] == [answer[0] for answer in answers]
        assert (204, 404) == (deleted[0], again[0])
        after = [change.after for change in client.twin.ledger.changes]
        assert ["Active", "Stopped", "Active", "Deleted"] == after
        assert 2 == len(receiver.tests)

    async def test_actions(self, client):
        """The API moves, tokens expire, the queue is lost."""
        former = client.twin.api_url
        statuses = [
            (await client.control("POST", f"/{action}"))[0]
            for action in ("move", "expire", "recycle", "idle", "explode")
        ]
        _, addresses, _ = await client.control("GET", "/addresses")

        assert [204, 204, 204, 204, 404] == statuses
        assert former != addresses["api"] == client.twin.api_url
        assert client.twin.login_url == addresses["login"]
        assert 401 == (await client.call("GET", V1))[0]

    @pytest.mark.parametrize("content", [{}, {"event": 5}, {"event": "a.b", "count": "x"}, []])
    async def test_wrong_requests(self, client, content):
        """What cannot be understood is a bad request."""
        assert 400 == (await client.control("POST", "/events", content))[0]


async def test_it_stops_with_work_left(twins, receiver):
    """A twin that ends with events in its queue loses them, and its sockets are closed."""
    async with twins(Rules(pauses=(60.0, 60.0)), speed=1) as client:
        await client.make(receiver.url)
        receiver.status = 500
        client.twin.tenant.raise_event("contact.created")
        twin = client.twin
    [entry] = twin.ledger.entries

    assert "recycled" == entry.cause
    port = int(twin.control_url.rpartition(":")[2])
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
