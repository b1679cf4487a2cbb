"""The authentication host and the credentials of the API, over real sockets."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from bridge.dev.superoffice.credentials import App, AuthorizeError
from bridge.dev.superoffice.login import STATES
from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import basic

V1 = "/v1/Webhook"
CLAIM = "http://schemes.superoffice.net/identity/"


@pytest.fixture
def app(signing_key):
    """Return an app that may be a system user; it shares the key of the twin, to save time."""
    return App(key=signing_key)


def decoded(text):
    """Decode base64url without its padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def claims(client, token):
    """Return the claims of a JWT, verified with the published key by a library."""
    metadata = await client.call("GET", "/login/.well-known/openid-configuration", url=host(client))
    path = metadata[1]["jwks_uri"].removeprefix(host(client))
    [key] = (await client.call("GET", path, url=host(client)))[1]["keys"]
    n, e = (int.from_bytes(decoded(key[name])) for name in ("n", "e"))
    signed, _, signature = token.rpartition(".")
    public = rsa.RSAPublicNumbers(e, n).public_key()
    public.verify(decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256())
    header, content = (json.loads(decoded(part)) for part in signed.split("."))
    assert ("RS256", key["kid"]) == (header["alg"], header["kid"])
    return content


def host(client):
    """Return the authentication host."""
    return client.twin.login_url


def signed_token(app, *, minutes=0, token=None, key=None):
    """Sign a system user token as SuperOffice's samples do, with a library."""
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    signed = f"{token or app.system_token}.{moment:%Y%m%d%H%M}"
    pair = key or app.key
    n, p, q, d = pair.public.n, pair.p, pair.q, pair.d
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, n)
    )
    signature = numbers.private_key().sign(signed.encode(), padding.PKCS1v15(), SHA256())
    return f"{signed}.{base64.b64encode(signature).decode()}"


async def authenticate(client, **changes):
    """Ask for a ticket; return status and JSON."""
    app = client.twin.app
    content = {
        "SignedSystemToken": signed_token(app),
        "ApplicationToken": app.client_secret,
        "ContextIdentifier": "Cust12345",
        "ReturnTokenType": "JWT",
        **changes,
    }
    path = "/Login/api/PartnerSystemUser/Authenticate"
    return (await client.call("POST", path, content, url=host(client)))[:2]


async def status_of(client, **headers):
    """Return the status of a call with these headers alone."""
    client.headers = headers
    return (await client.call("GET", V1))[0]


async def test_the_state_of_the_tenant(client):
    """Anyone can ask where the API is; the answer holds for a while."""
    client.headers.clear()
    status, state, _ = await client.call("GET", "/api/state/Cust12345", url=host(client))

    assert (200, "Running", True) == (status, state["State"], state["IsRunning"])
    assert client.twin.api_url == state["Api"] == f"{state['Endpoint']}/api"
    assert datetime.now(UTC) < datetime.fromisoformat(state["ValidUntil"])


@pytest.mark.parametrize("state", STATES)
async def test_states_of_the_tenant(client, state):
    """Only Running and OnlineMaintenance run."""
    client.twin.faults.tenant_state = state
    _, answer, _ = await client.call("GET", "/api/state/Cust12345", url=host(client))

    assert state == answer["State"]
    assert (state in ("Running", "OnlineMaintenance")) == answer["IsRunning"]


async def test_another_tenant(client):
    """Of a tenant that is not here nothing is known."""
    _, answer, _ = await client.call("GET", "/api/state/Cust99", url=host(client))

    assert ("Cust99", "Unknown", False, None) == tuple(
        answer[name] for name in ("ContextIdentifier", "State", "IsRunning", "Api")
    )


async def test_the_api_moves(client):
    """The former host answers 421; the state has the new one, where the token still holds."""
    former = client.twin.api_url
    await client.twin.move()
    status, answer, _ = await client.call("GET", V1, url=former)
    _, state, _ = await client.call("GET", "/api/state/Cust12345", url=host(client))

    assert (421, "Wrong subdomain used to access tenant") == (status, answer["ErrorMessage"])
    assert former != state["Api"] == client.twin.api_url
    assert 200 == (await client.call("GET", V1))[0]


async def test_the_authentication_host_has_no_api(client):
    """It only authenticates: a call of the API there is misdirected."""
    status, *_ = await client.call("GET", f"/Cust12345/api{V1}", url=host(client))

    assert 421 == status


async def test_a_refresh_token(client):
    """It gives a token for an hour and an id_token that names the API, again and again."""
    status, first = await client.refresh()
    _, second = await client.refresh()

    assert (200, "Bearer", True) == (
        status,
        first["token_type"],
        first["access_token"].startswith("8A:Cust12345."),
    )
    assert first["access_token"] != second["access_token"]
    assert "refresh_token" not in first
    found = await claims(client, first["id_token"])
    assert (host(client), client.twin.app.client_id) == (found["iss"], found["aud"])
    assert f"{client.twin.api_url}/" == found[f"{CLAIM}webapi_url"]
    assert "Cust12345" == found[f"{CLAIM}ctx"]


async def test_a_client_can_use_basic(client):
    """Id and secret of the app may also come by Basic, as the metadata says."""
    app = client.twin.app
    url = f"{host(client)}/login/common/oauth/tokens"
    form = {"grant_type": "refresh_token", "refresh_token": app.refresh_token}
    statuses = []
    for value in (basic(app.client_id, app.client_secret), basic("x", "y"), "Basic ?"):
        headers = {"Authorization": value}
        async with client.session.post(url, data=form, headers=headers) as response:
            statuses.append(response.status)

    assert [200, 401, 401] == statuses


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"grant_type": "client_credentials"}, (400, "unsupported_grant_type")),
        ({"client_secret": "x"}, (401, "invalid_client")),
        ({"client_id": "x"}, (401, "invalid_client")),
        ({"refresh_token": "x"}, (400, "invalid_grant")),
    ],
)
async def test_refused_refreshes(client, changes, expected):
    """There are no client credentials, and a wrong secret or token gives nothing."""
    status, answer = await client.refresh(**changes)

    assert expected == (status, answer["error"])


async def test_a_revoked_consent(client):
    """When consent is withdrawn the refresh token is dead, and what it gave lives on."""
    client.twin.faults.refused_with = AuthorizeError.REVOKED

    assert 400 == (await client.refresh())[0]
    assert 200 == (await client.call("GET", V1))[0]


async def test_an_access_token_dies(twins):
    """It lives for an hour, whether it is used or not."""
    async with twins(speed=1) as client:
        client.twin.clock.skip(3590)
        assert 200 == (await client.call("GET", V1))[0]
        client.twin.clock.skip(20)
        status, answer, _ = await client.call("GET", V1)

        assert (401, True) == (status, answer["Error"])
        await client.log_in()
        assert 200 == (await client.call("GET", V1))[0]


async def test_a_ticket_slides(twins, app):
    """A ticket dies six hours after its last use, not after its first."""
    async with twins(speed=1, app=app) as client:
        _, answer = await authenticate(client)
        found = await claims(client, answer["Token"])
        headers = {
            "Authorization": f"SOTicket {found[f'{CLAIM}ticket']}",
            "SO-AppToken": app.client_secret,
        }
        for _ in range(3):
            client.twin.clock.skip(5.9 * 3600)
            assert 200 == await status_of(client, **headers)
        client.twin.clock.skip(6.1 * 3600)

        assert 401 == await status_of(client, **headers)


async def test_a_system_user(twins, app):
    """A signed token gives a JWT of SuperOffice, with a ticket that works with the app's secret."""
    async with twins(app=app) as client:
        status, answer = await authenticate(client)
        found = await claims(client, answer["Token"])
        ticket = found[f"{CLAIM}ticket"]

        assert (200, True, None) == (status, answer["IsSuccessful"], answer["ErrorMessage"])
        assert ("SuperOffice AS", f"spn:{found[f'{CLAIM}serial']}") == (found["iss"], found["aud"])
        assert ticket.startswith("7T:")
        headers = {"Authorization": f"SOTicket {ticket}"}
        assert 200 == await status_of(client, **headers, **{"SO-AppToken": app.client_secret})
        assert 401 == await status_of(client, **headers, **{"SO-AppToken": "x"})
        assert 401 == await status_of(client, **headers)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ApplicationToken": "x"}, AuthorizeError.DENIED),
        ({"ContextIdentifier": "Cust99"}, AuthorizeError.DENIED),
        ({"ReturnTokenType": "SAML"}, AuthorizeError.DENIED),
        ({"SignedSystemToken": "x"}, AuthorizeError.DENIED),
        ({"SignedSystemToken": {"token": "Other-1"}}, AuthorizeError.DENIED),
        ({"SignedSystemToken": {"minutes": -30}}, AuthorizeError.INVALID_TIMESTAMP),
        ({"SignedSystemToken": {"minutes": 30}}, AuthorizeError.INVALID_TIMESTAMP),
    ],
)
async def test_refused_system_users(twins, app, changes, code):
    """A refusal is a 200 whose flag says no, with the code of the reason."""
    async with twins(app=app) as client:
        token = changes.get("SignedSystemToken")
        if isinstance(token, dict):
            changes = {"SignedSystemToken": signed_token(app, **token)}
        status, answer = await authenticate(client, **changes)

    assert (200, False, None) == (status, answer["IsSuccessful"], answer["Token"])
    assert f"{code.value}: {code.name}" == answer["ErrorMessage"]


async def test_a_wrong_signature(twins, app):
    """A token that was changed after it was signed is refused, and one that is not base64."""
    async with twins(app=app) as client:
        token, minute, signature = signed_token(app).split(".")
        other = signature[:-4] + ("AAA=" if signature[-4:] != "AAA=" else "BBB=")
        answers = [
            (await authenticate(client, SignedSystemToken=f"{token}.{minute}.{changed}"))[1]
            for changed in (other, "?", "")
        ]

    assert ["7: INVALID_SIGNATURE"] * 3 == [answer["ErrorMessage"] for answer in answers]


async def test_a_refused_system_user(twins, app):
    """While an app needs approval anew its system user gets no ticket."""
    async with twins(app=app) as client:
        client.twin.faults.refused_with = 5
        _, answer = await authenticate(client)

    assert "5: NEEDS_REAPPROVAL" == answer["ErrorMessage"]


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff"])
async def test_an_unreadable_request(client, body):
    """What is no object is a bad request."""
    path = "/Login/api/PartnerSystemUser/Authenticate"
    status, *_ = await client.call("POST", path, data=body, url=host(client))

    assert 400 == status


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer x", "SOTicket x", "Negotiate x"])
async def test_no_credentials(client, value):
    """Without good credentials there is a 401 with the body of an error."""
    client.headers = {"Authorization": value}
    status, answer, _ = await client.call("GET", V1)

    assert (401, True, "Authentication failed") == (
        status,
        answer["Error"],
        answer["ErrorMessage"],
    )


async def test_basic_is_for_on_site(twins, client):
    """Online refuses Basic, on-site refuses tokens."""
    assert 401 == await status_of(client, Authorization=basic("admin", "secret"))

    async with twins(Rules(is_online=False)) as other:
        _, token = await other.refresh()
        assert 200 == (await other.call("GET", V1))[0]
        for value in (basic("admin", "x"), basic("x", "secret"), "Basic ?", "Basic /w=="):
            assert 401 == await status_of(other, Authorization=value)
        assert 401 == await status_of(other, Authorization=f"Bearer {token['access_token']}")
