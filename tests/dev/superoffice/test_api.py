"""The API of a tenant over real sockets: saving, finding, changing and deleting webhooks."""

import json
from datetime import timedelta
from email.utils import format_datetime

import pytest

from bridge.dev.superoffice.credentials import App
from bridge.dev.superoffice.ledger import Fate
from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition

V1 = "/v1/Webhook"
COUNTERS = {"ConsecutiveErrors", "LastError", "TotalCalls", "TotalErrors"}


async def test_a_save_tests_first(client, receiver):
    """Saving posts a signed test event, and what was saved is answered with 200."""
    made = await client.make(receiver.url)

    [test] = receiver.tests
    assert ("test", "true") == (test.headers["X-SuperOffice-Event"], test.headers["X-Hook-Test"])
    assert ("test", "test", 0, []) == tuple(
        test.content[name] for name in ("Event", "Entity", "PrimaryKey", "Changes")
    )
    assert test.is_signed_with("nøkkel".encode())
    assert (1, "crm-sync", ["contact.created"], "Active") == tuple(
        made[name] for name in ("WebhookId", "Name", "Events", "State")
    )
    assert "0001-01-01T00:00:00Z" == made["Updated"]
    assert made["_Links"]["Self"] == f"{client.twin.api_url}/v1/Webhook/1"
    assert [Fate.ACCEPTED] == [entry.fate for entry in client.twin.ledger.tests]


@pytest.mark.parametrize("rules", [Rules(), Rules(refused_save_status=400)])
@pytest.mark.parametrize("status", [201, 204, 301, 401, 503])
async def test_a_save_that_is_refused(twins, receiver, rules, status):
    """A target that does not answer the test with 200 is not saved, and the answer says why."""
    receiver.status = status
    async with twins(rules) as client:
        content = definition(receiver.url, "contact.created")
        got, answer, _ = await client.call("POST", V1, content)
        listed = await client.call("GET", V1)

    assert rules.refused_save_status == got
    assert answer["Error"] is True
    if status != 204:
        assert f"answer {status}" in answer["ErrorMessage"]
    assert [] == listed[1]


async def test_a_refused_change(client, receiver):
    """A change whose test fails leaves the webhook as it was; one save posts one test."""
    await client.make(receiver.url)
    receiver.status = 503
    changes = [{"op": "replace", "path": "/Name", "value": "other"}]
    patch = await client.call("PATCH", f"{V1}/1", changes)
    put = await client.call("PUT", f"{V1}/1", definition(receiver.url, "a.b", Name="other"))

    assert (500, 500, 3) == (patch[0], put[0], len(receiver.tests))
    shown = await client.get()
    assert ("crm-sync", ["contact.created"]) == (shown["Name"], shown["Events"])


async def test_put_replaces_everything(client, receiver):
    """What a PUT leaves out is null afterwards: a forgotten Secret turns the feed unsigned."""
    await client.make(receiver.url, Headers={"X-A": "1"}, Properties={"A": {}}, ErrorsEmail="a@b")
    content = definition(receiver.url, "sale.sold")
    del content["Secret"]
    status, answer, _ = await client.call("PUT", f"{V1}/1", {**content, "WebhookId": 13})

    assert (200, 1) == (status, answer["WebhookId"])
    names = ("Secret", "Headers", "Properties", "ErrorsEmail")
    assert [None] * 4 == [answer[name] for name in names]
    assert "X-SuperOffice-Signature" not in receiver.tests[-1].headers
    assert answer["Updated"] > answer["Registered"]
    assert "The user of the token" == answer["UpdatedAssociate"]["Name"]


async def test_patch_keeps_the_rest(client, receiver):
    """A PATCH changes what it names: the Secret stays, and signs the test."""
    await client.make(receiver.url, Headers={"X-A": "1"})
    changes = [{"op": "add", "path": "/Events/-", "value": "sale.sold"}]
    status, answer, _ = await client.call("PATCH", f"{V1}/1", changes)

    assert (200, ["contact.created", "sale.sold"]) == (status, answer["Events"])
    assert {"X-A": "1"} == answer["Headers"]
    assert receiver.tests[-1].is_signed_with("nøkkel".encode())


async def test_a_new_secret(client, receiver):
    """After a PATCH of the Secret its own test is signed with the new one."""
    await client.make(receiver.url)
    await client.call("PATCH", f"{V1}/1", {"Secret": "new"})

    assert receiver.tests[-1].is_signed_with(b"new")


async def test_switching_on_again(client, receiver):
    """The documented way back: a PATCH whose test on the state makes sure that nobody else was."""
    await client.make(receiver.url)
    receiver.script.append(410)
    client.twin.tenant.raise_event("contact.created")
    await client.twin.tenant.sender.idle()
    changes = [
        {"op": "test", "path": "/State", "value": "TooManyErrors"},
        {"op": "replace", "path": "/State", "value": "Active"},
    ]
    status, answer, _ = await client.call("PATCH", f"{V1}/1", changes)
    again = await client.call("PATCH", f"{V1}/1", changes)

    assert (200, "Active", 1) == (status, answer["State"], answer["ConsecutiveErrors"])
    assert 409 == again[0]
    assert 2 == len(receiver.tests)  # a refused patch tests nothing
    client.twin.tenant.raise_event("contact.created")
    await client.twin.tenant.sender.idle()
    assert 0 == (await client.get())["ConsecutiveErrors"]
    assert [None, "Active", "TooManyErrors"] == [one.before for one in client.twin.ledger.changes]


async def test_if_unmodified_since(client, receiver):
    """A PATCH is refused with 412 if somebody has saved the webhook since."""
    await client.make(receiver.url)
    changed = client.twin.tenant.webhooks[1].registered
    answers = []
    for seconds in (-2, 0, 2):
        moment = format_datetime(changed + timedelta(seconds=seconds), usegmt=True)
        headers = {"If-Unmodified-Since": moment}
        body = json.dumps({"ErrorsEmail": None})
        answer = await client.call("PATCH", f"{V1}/1", data=body, headers=headers)
        answers.append(answer[0])
        client.twin.tenant.webhooks[1].updated = None

    assert [412, 200, 200] == answers


@pytest.mark.parametrize("body", ["", "[", "[]", "null", "5", "\udc80"])
@pytest.mark.parametrize(("method", "path"), [("POST", V1), ("PUT", f"{V1}/1")])
async def test_no_entity(client, receiver, method, path, body):
    """A save without an object in its body is a bad request."""
    await client.make(receiver.url)
    data = body.encode("utf-8", "surrogateescape")
    status, answer, _ = await client.call(method, path, data=data)

    assert (400, True) == (status, answer["Error"])
    assert "Entity to save is not in request body." == answer["ErrorMessage"]


@pytest.mark.parametrize(
    ("name", "fits", "too_long"),
    [
        ("Name", "x" * 400, "x" * 401),
        ("Secret", "x" * 400, "x" * 401),
        ("ErrorsEmail", "x" * 239, "x" * 240),
        ("Events", ["x" * 1999, "y" * 2000], ["x" * 2000, "y" * 2000]),
    ],
)
async def test_lengths(client, receiver, name, fits, too_long):
    """As many characters as the database has room for; the commas between Events count."""
    await client.make(receiver.url, **{name: fits})
    content = definition(receiver.url, "contact.created", **{name: too_long})
    status, answer, _ = await client.call("POST", V1, content)

    assert 400 == status
    assert answer["ErrorMessage"].startswith(f"{name} has ")


async def test_the_length_of_a_url(client, receiver):
    """A TargetUrl may have 4,000 characters."""
    url = f"{receiver.url}/".ljust(4000, "x")
    await client.make(receiver.url, TargetUrl=url)

    status, *_ = await client.call("POST", V1, definition("", "a.b", TargetUrl=f"{url}x"))
    assert 400 == status


@pytest.mark.parametrize(
    "members",
    [
        {"Events": "contact.created"},
        {"Events": [5]},
        {"TargetUrl": None},
        {"State": "Deleted"},
        {"State": 4},
        {"Headers": {"X-A": 1}},
        {"Headers": []},
        {"Properties": "x"},
        {"Type": "crmscript"},
        {"Name": 5},
    ],
)
async def test_wrong_members(client, receiver, members):
    """A member of another type is a bad request, and nothing is posted."""
    content = definition(receiver.url, "contact.created", **members)
    status, *_ = await client.call("POST", V1, content)

    assert (400, []) == (status, receiver.received)


@pytest.mark.parametrize(
    ("given", "shown"), [(1, "Active"), (2, "Stopped"), ("Unknown", "Active"), (None, "Active")]
)
async def test_states_of_a_save(client, receiver, given, shown):
    """A state may be a number; none and Unknown make a webhook active."""
    assert shown == (await client.make(receiver.url, State=given))["State"]


async def test_filters(client, receiver):
    """A list can be filtered by an exact name, an exact event and a state."""
    await client.make(receiver.url, Name="one")
    await client.make(receiver.url, "sale.sold", Name="two")
    await client.make(receiver.url, "sale.sold", Name="three", State="Stopped")

    async def names(**query):
        _, found, _ = await client.call("GET", V1, params=query)
        return [one["Name"] for one in found]

    assert ["one", "two", "three"] == await names() == await names(statusFilter="Unknown")
    assert ["two"] == await names(nameFilter="two")
    assert [] == await names(nameFilter="tw")
    assert ["two", "three"] == await names(eventFilter="sale.sold")
    assert ["three"] == await names(eventFilter="sale.sold", statusFilter="Stopped")


async def test_delete(client, receiver):
    """What is deleted is gone, for every operation."""
    await client.make(receiver.url)
    assert (204, None) == (await client.call("DELETE", f"{V1}/1"))[:2]

    body = definition(receiver.url, "a.b")
    for method, path, content in (
        ("GET", f"{V1}/1", None),
        ("PUT", f"{V1}/1", body),
        ("PATCH", f"{V1}/1", {"Name": "x"}),
        ("DELETE", f"{V1}/1", None),
        ("GET", f"{V1}/1/LastError", None),
    ):
        status, answer, _ = await client.call(method, path, content)
        assert (404, "SoNotFoundException") == (status, answer["ErrorType"])
    assert 2 == (await client.make(receiver.url))["WebhookId"]


async def test_deleted_during_its_test(client, receiver):
    """A webhook that somebody deletes while a save tests it is not revived."""
    await client.make(receiver.url)

    async def decide(received):
        await client.call("DELETE", f"{V1}/1")
        return 200

    receiver.decide = decide
    status, *_ = await client.call("PATCH", f"{V1}/1", {"Name": "x"})

    assert 404 == status
    assert {} == client.twin.tenant.webhooks


async def test_an_app_sees_its_own(client, receiver):
    """A webhook that a person or another app has made does not exist for this one."""
    made = await client.twin.tenant.make_by_hand(definition(receiver.url, "contact.created"))

    assert [] == (await client.call("GET", V1))[1]
    assert 404 == (await client.call("GET", f"{V1}/{made.id}"))[0]
    assert 404 == (await client.call("DELETE", f"{V1}/{made.id}"))[0]
    client.twin.app.client_id = "another"
    await client.log_in()
    own = await client.make(receiver.url)
    assert [own["WebhookId"]] == [one["WebhookId"] for one in (await client.call("GET", V1))[1]]


async def test_a_person_on_site_sees_all(twins, receiver):
    """With a password one sees every webhook; the context is Default."""
    async with twins(Rules(is_online=False)) as client:
        made = await client.twin.tenant.make_by_hand(definition(receiver.url, "contact.created"))

        assert [made.id] == [one["WebhookId"] for one in (await client.call("GET", V1))[1]]
        assert "Default" == receiver.tests[0].content["ContextIdentifier"]
        assert "/superoffice/api" in client.twin.api_url


@pytest.mark.parametrize(("version", "has"), [((11, 13), False), ((12, 0), True), ((12, 2), True)])
async def test_counters_since_12(twins, receiver, version, has):
    """The counters are in the answers since 12.0, and in the archive always."""
    async with twins(Rules(version=version)) as client:
        made = await client.make(receiver.url)
        receiver.script.append(500)
        client.twin.tenant.raise_event("contact.created")
        await client.twin.tenant.sender.idle()
        shown = await client.get()
        columns = ("webhook_usage_id", "total_calls", "total_errors", "consecutive_errors")
        query = {
            "$select": ",".join(f"webhook_usage.{one}" for one in (*columns, "last_error")),
            "$filter": "webhook_usage.webhook_usage_id eq 1",
        }
        _, usage, _ = await client.call("GET", "/v1/Archive/dynamic", params=query)

    assert has == (COUNTERS <= set(shown)) == ("NotifyWhen" in made)
    assert has or not COUNTERS & set(shown)
    [row] = usage["value"]
    assert [1, 2, 1, 0] == [row[f"webhook_usage.{one}"] for one in columns]
    assert row["webhook_usage.last_error"].endswith("answer 500")
    assert ("1", "webhook_usage") == (row["PrimaryKey"], row["EntityName"])
    if has:
        assert (2, 1, 0) == (shown["TotalCalls"], shown["TotalErrors"], shown["ConsecutiveErrors"])


@pytest.mark.parametrize(
    "query",
    [
        {"$select": "contact.name"},
        {"$select": ""},
        {"$select": "webhook_usage.total_calls", "$filter": "webhook_usage.total_calls gt 1"},
    ],
)
async def test_other_queries(client, receiver, query):
    """The twin answers no other query of the archive, and says so."""
    await client.make(receiver.url)

    assert 400 == (await client.call("GET", "/v1/Archive/dynamic", params=query))[0]


async def test_the_usage_of_all(client, receiver):
    """Without a filter every webhook has a row, those of others too."""
    await client.make(receiver.url)
    await client.twin.tenant.make_by_hand(definition(receiver.url, "contact.created"))
    query = {"$select": "webhook_usage.total_calls"}
    _, usage, _ = await client.call("GET", "/v1/Archive/dynamic", params=query)

    assert ["1", "2"] == [row["PrimaryKey"] for row in usage["value"]]
    query["$filter"] = "webhook_usage.webhook_usage_id eq 2"
    _, usage, _ = await client.call("GET", "/v1/Archive/dynamic", params=query)
    assert ["2"] == [row["PrimaryKey"] for row in usage["value"]]


async def test_last_error(client, receiver):
    """The last bad answer can be read: its headers and its body."""
    await client.make(receiver.url)
    assert "" == (await client.call("GET", f"{V1}/1/LastError"))[1]
    receiver.script.append(500)
    client.twin.tenant.raise_event("contact.created")
    await client.twin.tenant.sender.idle()
    _, text, _ = await client.call("GET", f"{V1}/1/LastError")

    assert "X-Reason: why\n" in text
    assert text.endswith("\n\nanswer 500")


async def test_testing_without_saving(client, receiver):
    """A definition can be tested: the answer says whether it worked, and what came back."""
    content = definition(receiver.url, "a.b")
    good = await client.call("POST", f"{V1}/Test", content)
    receiver.status = 503
    bad = await client.call("POST", f"{V1}/Test", content)

    assert (200, True) == (good[0], good[1]["Success"])
    assert (200, False) == (bad[0], bad[1]["Success"])
    assert bad[1]["Message"].endswith("answer 503")
    assert [] == (await client.call("GET", V1))[1]


async def test_signalled_events(client, receiver):
    """A made-up event reaches the webhooks of everybody, also those that a person made."""
    await client.make(receiver.url, "window.closed")
    await client.twin.tenant.make_by_hand(definition(receiver.url, "window.closed", Name="by hand"))
    status, *_ = await client.call("POST", f"{V1}/window.closed/7", {"windowName": "foo"})
    await client.twin.tenant.sender.idle()

    assert 204 == status
    assert {"crm-sync", "by hand"} == {one.content["WebhookName"] for one in receiver.events}
    assert {7} == {one.content["PrimaryKey"] for one in receiver.events}
    assert {"windowName": "foo"} == receiver.events[0].content["FieldValues"]


async def test_by_hand(client, receiver):
    """The user interface takes names of 100 characters, and tests what it saves."""
    tenant = client.twin.tenant
    await tenant.make_by_hand(definition(receiver.url, "a.b", Name="x" * 100))

    assert 1 == len(receiver.tests)
    with pytest.raises(Exception, match="100 characters"):
        await tenant.make_by_hand(definition(receiver.url, "a.b", Name="x" * 101))


async def test_select(client, receiver):
    """With $select all other members are null."""
    await client.make(receiver.url)
    _, shown, _ = await client.call("GET", f"{V1}/1", params={"$select": "name,State"})

    named = {name: value for name, value in shown.items() if value is not None}
    assert {"Name": "crm-sync", "State": "Active"} == named
    assert "TargetUrl" in shown


async def test_the_template(client):
    """The template is an active webhook without a number."""
    _, template, _ = await client.call("GET", f"{V1}/default")

    assert (0, "Active", "webhook") == tuple(
        template[name] for name in ("WebhookId", "State", "Type")
    )
    assert ["contact.created", "contact.deleted"] == template["Events"]


async def test_version_and_verbs(twins):
    """The server says its version, and which verbs there are, without credentials."""
    async with twins(Rules(version=(11, 13))) as client:
        client.headers.clear()
        _, version, _ = await client.call("GET", "")
        _, verbs, _ = await client.call("GET", "/v1")
        client.twin.faults.no_patch = True
        _, fewer, _ = await client.call("GET", "/v1")
        url = f"{client.twin.api_url}/v1"

    assert version["NetServerVersion"].startswith("11.13.")
    assert f"{url}/" == version["v1"]
    assert ["GET", "PUT", "PATCH", "DELETE"] == verbs[f"{url}/Webhook/{{id}}"]
    assert ["GET", "PUT", "DELETE"] == fewer[f"{url}/Webhook/{{id}}"]


async def test_unknown_paths(client):
    """What is not there has the body of an error, too."""
    for path in ("/v1/Contact/1", f"{V1}/x", f"{V1}/1/2/3"):
        status, answer, _ = await client.call("GET", path)
        assert (404, True) == (status, answer["Error"]), path
    assert 405 == (await client.call("DELETE", V1))[0]


async def test_the_ledger_of_calls(twins, receiver):
    """Each call is written down: its path without the query, its scheme without the credential."""
    async with twins(app=App(client_secret="hidden")) as client:
        await client.call("GET", V1, params={"nameFilter": "private"})
        last = client.twin.ledger.calls[-1]
        text = repr(client.twin.ledger.calls)

    assert ("GET", "/Cust12345/api/v1/Webhook", "Bearer", 200) == (
        last.method,
        last.path,
        last.scheme,
        last.status,
    )
    assert not any(word in text for word in ("hidden", "private", client.headers["Authorization"]))
