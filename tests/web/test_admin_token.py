"""The admin listener with a token: probes are answered, everything else needs it."""

import json

import aiohttp
import pytest

TOKEN = "t0ken-of-the-tests"


async def get(client, path, authorization=None):
    """Ask the admin listener; return (status, text, headers)."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{client.service.admin.url}{path}", headers=headers) as response,
    ):
        return response.status, await response.text(), response.headers


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_with_the_token_everything_is_as_without_one(serving, scheme):
    """The scheme's case does not count (RFC 9110, section 11.1)."""
    async with serving(BRIDGE_SERVER__ADMIN_TOKEN=TOKEN) as client:
        metrics = await get(client, "/metrics", f"{scheme} {TOKEN}")
        ready = await get(client, "/readyz", f"{scheme} {TOKEN}")
        other = await get(client, "/other", f"{scheme} {TOKEN}")

    assert (200, 200, 404) == (metrics[0], ready[0], other[0])
    assert "superoffice_bridge_in_flight" in metrics[1]
    assert "spool" in json.loads(ready[1])


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer é"],
)
async def test_without_the_token_only_probes_are_answered(serving, authorization):
    """They learn whether it is alive and ready, and nothing else; other pages do not even exist."""
    async with serving(BRIDGE_SERVER__ADMIN_TOKEN=TOKEN) as client:
        alive = await get(client, "/healthz", authorization)
        ready = await get(client, "/readyz", authorization)
        refused = [await get(client, path, authorization) for path in ("/metrics", "/other")]

    assert (200, {"status": "alive"}) == (alive[0], json.loads(alive[1]))
    assert (200, {"ready": True}) == (ready[0], json.loads(ready[1]))
    for status, text, headers in refused:
        assert status == json.loads(text)["status"] == 401
        assert 'Bearer realm="admin"' == headers["WWW-Authenticate"]
        assert "superoffice_bridge" not in text
