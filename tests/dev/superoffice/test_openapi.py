"""The twin's answers against the facts of SuperOffice's published OpenAPI files.

Facts alone are here, in schemas of our own: paths, verbs, statuses, members and their types, from
openapi-v3-Webhook.json and openapi-v3-Archive.json of SuperOfficeDevNet/mintlify-docs. In those
files nothing is marked as nullable, but SuperOffice's own samples have null for many members.
"""

import pytest
from jsonschema import Draft202012Validator

from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition

V1 = "/v1/Webhook"


def nullable(kind, **more):
    """Return the schema of a type or null."""
    return {"type": [kind, "null"], **more}


TEXT = {"type": "string"}
MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,7})?Z$"}
ASSOCIATE = nullable(
    "object",
    properties={
        "AssociateId": {"type": "integer"},
        "Name": TEXT,
        "FullName": TEXT,
        "Deleted": {"type": "boolean"},
        "Type": {
            "enum": [
                "Unknown",
                "InternalAssociate",
                "ResourceAssociate",
                "ExternalAssociate",
                "AnonymousAssociate",
                "SystemAssociate",
            ]
        },
    },
    additionalProperties=False,
)
MEMBERS = {
    "WebhookId": {"type": "integer"},
    "Name": nullable("string"),
    "Events": {"type": "array", "items": TEXT},
    "TargetUrl": nullable("string"),
    "Secret": nullable("string"),
    "State": {"enum": ["Unknown", "Active", "Stopped", "TooManyErrors"]},
    "Type": TEXT,
    "Headers": nullable("object", additionalProperties=TEXT),
    "Properties": nullable("object", additionalProperties={"type": "object"}),
    "Registered": MOMENT,
    "RegisteredAssociate": ASSOCIATE,
    "Updated": MOMENT,
    "UpdatedAssociate": ASSOCIATE,
    "ErrorsEmail": nullable("string"),
}
SINCE_12 = {
    "ConsecutiveErrors": {"type": "integer"},
    "Description": {},
    "ErrorAssociates": {},
    "ErrorEmails": {},
    "LastError": TEXT,
    "NotifyVia": {},
    "NotifyWhen": {},
    "TotalCalls": {"type": "integer"},
    "TotalErrors": {"type": "integer"},
}
"""Members of the release notes of 12.0.342, which are in no OpenAPI file. Only names are known."""

LINKS = {"_Links": {"type": "object", "additionalProperties": TEXT}}
RESULT = {"Success": {"type": "boolean"}, "Message": TEXT}
ERROR = {"Error": {"const": True}, "ErrorType": TEXT, "ErrorMessage": TEXT, "ErrorSource": TEXT}
ARCHIVE = {
    "odata.metadata": TEXT,
    "odata.nextLink": nullable("string"),
    "value": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["PrimaryKey", "EntityName"],
            "properties": {"PrimaryKey": TEXT, "EntityName": TEXT},
        },
    },
}


def whole(*members):
    """Return the schema of an object with exactly these members."""
    together = {name: schema for one in members for name, schema in one.items()}
    return {
        "type": "object",
        "properties": together,
        "required": sorted(together),
        "additionalProperties": False,
    }


def check(schema, content):
    """Fail if content is not as the schema says."""
    Draft202012Validator.check_schema(schema)
    assert [] == [error.message for error in Draft202012Validator(schema).iter_errors(content)]


USAGE = "/v1/Archive/dynamic?$select=webhook_usage.total_calls,webhook_usage.last_error"
OPERATIONS = [
    ("GET", f"{V1}/default", None, 200, "webhook"),
    ("POST", V1, "definition", 200, "linked"),
    ("GET", V1, None, 200, "webhooks"),
    ("GET", f"{V1}/1", None, 200, "linked"),
    ("PUT", f"{V1}/1", "definition", 200, "linked"),
    ("PATCH", f"{V1}/1", "patch", 200, "linked"),
    ("POST", f"{V1}/Test", "definition", 200, "result"),
    ("POST", f"{V1}/window.closed/0", "nothing", 204, None),
    ("GET", f"{V1}/1/LastError", None, 200, "text"),
    ("GET", USAGE, None, 200, "archive"),
    ("DELETE", f"{V1}/1", None, 204, None),
    ("GET", f"{V1}/1", None, 404, "error"),
    ("PATCH", f"{V1}/1", "patch", 404, "error"),
    ("PUT", f"{V1}/1", "text", 404, "error"),
    ("POST", V1, "text", 400, "error"),
]
"""Every documented operation with its documented statuses, in an order in which they work."""


@pytest.mark.parametrize("rules", [Rules(version=(11, 13)), Rules(version=(12, 1))])
async def test_operations(twins, receiver, rules):
    """Each operation answers with the documented status and members, and no others."""
    since = [SINCE_12] if rules.has_counters else []
    schemas = {
        "webhook": whole(MEMBERS),
        "webhooks": {"type": "array", "minItems": 1, "items": whole(MEMBERS, *since)},
        "linked": whole(MEMBERS, LINKS, *since),
        "result": whole(RESULT),
        "text": TEXT,
        "archive": whole(ARCHIVE),
        "error": whole(ERROR),
    }
    headers, properties = {"X-A": "1"}, {"Place": {"city": "Oslo"}}
    made = definition(receiver.url, "a.b", Headers=headers, Properties=properties)
    bodies = {None: None, "definition": made, "patch": {"Name": "x"}, "nothing": {}, "text": "x"}

    async with twins(rules) as client:
        for method, path, body, expected, schema in OPERATIONS:
            status, content, answered = await client.call(method, path, bodies[body])
            assert expected == status, (method, path, content)
            if schema is None:
                assert content is None
            else:
                assert answered["Content-Type"].startswith("application/json")
                check(schemas[schema], content)


async def test_every_error_has_its_body(client, receiver):
    """401, 405, 409, 412, 421 and 429 have the body of an error, whatever the operation."""
    await client.make(receiver.url)
    old = {"If-Unmodified-Since": "Mon, 02 Mar 2026 09:15:27 GMT"}
    test = [{"op": "test", "path": "/Name", "value": "x"}]
    former = client.twin.api_url
    await client.twin.move()
    answers = [
        await client.call("PATCH", f"{V1}/1", test),
        await client.call("PATCH", f"{V1}/1", {"Name": "x"}, headers=old),
        await client.call("DELETE", V1),
        await client.call("GET", V1, url=former),
    ]
    client.twin.faults.api.status = 429
    answers.append(await client.call("GET", V1))
    client.twin.faults.api.status = None
    answers.append(await client.call("GET", V1, headers={"Authorization": "Bearer x"}))

    assert [409, 412, 405, 421, 429, 401] == [status for status, *_ in answers]
    for _, content, _ in answers:
        check(whole(ERROR), content)


async def test_the_other_hosts_answer_as_documented(client):
    """The tenant's state and the token have the members of their documents."""
    state = {
        "ContextIdentifier": TEXT,
        "Endpoint": TEXT,
        "State": TEXT,
        "IsRunning": {"type": "boolean"},
        "ValidUntil": MOMENT,
        "Api": TEXT,
    }
    token = {
        "token_type": {"const": "Bearer"},
        "access_token": TEXT,
        "expires_in": {"type": "integer"},
        "id_token": TEXT,
    }
    refusal = {"IsSuccessful": {"const": False}, "Token": {"type": "null"}, "ErrorMessage": TEXT}
    login = client.twin.login_url
    path = "/Login/api/PartnerSystemUser/Authenticate"

    check(whole(state), (await client.call("GET", "/api/state/Cust12345", url=login))[1])
    check(whole(token), (await client.refresh())[1])
    check(whole(refusal), (await client.call("POST", path, {}, url=login))[1])
