"""TLS on both sides of the twin: what it trusts, and what it shows."""

import ssl
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from bridge.dev.superoffice.rules import Rules
from tests.dev.superoffice.conftest import definition, listening

V1 = "/v1/Webhook"


def shown(pair):
    """Return what a server needs to show a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


async def test_a_target_with_a_valid_certificate(twins, authority):
    """Where https is required it works, if a trusted CA has signed for the name."""
    rules, trust = Rules(require_https=True), authority.client()
    async with (
        listening(shown(authority.issue("127.0.0.1"))) as receiver,
        twins(rules, trust=trust) as client,
    ):
        await client.make(receiver.url)
        client.twin.tenant.raise_event("contact.created")
        await client.twin.tenant.sender.idle()

        assert (1, 1) == (len(receiver.tests), len(receiver.events))


@pytest.mark.parametrize("fault", ["unknown CA", "other name", "expired"])
async def test_a_target_with_a_bad_certificate(twins, authority, stranger, fault):
    """A certificate that cannot be trusted lets the save fail, and nothing is posted."""
    past = datetime.now(UTC) - timedelta(days=1)
    pair = {
        "unknown CA": stranger.issue("127.0.0.1"),
        "other name": authority.issue("bridge.example"),
        "expired": authority.issue("127.0.0.1", expires=past),
    }[fault]
    async with (
        listening(shown(pair)) as receiver,
        twins(Rules(require_https=True), trust=authority.client()) as client,
    ):
        content = definition(receiver.url, "contact.created")
        status, answer, _ = await client.call("POST", V1, content)

        assert (500, []) == (status, receiver.received)
        assert "certificate" in answer["ErrorMessage"].lower()


async def test_hosts_with_tls(twins, authority, signing_key):
    """API and authentication host can speak TLS; their addresses say so."""
    pair = authority.issue("127.0.0.1")
    async with twins(Rules(is_online=False), tls=shown(pair)) as client:
        twin = client.twin
        connector = aiohttp.TCPConnector(ssl=authority.client())
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(f"{twin.api_url}{V1}", headers=client.headers) as response:
                assert (200, []) == (response.status, await response.json())
            async with session.get(f"{twin.login_url}/api/state/Default") as response:
                state = await response.json()

        assert twin.api_url.startswith("https://127.0.0.1:")
        assert state["Api"] == twin.api_url
