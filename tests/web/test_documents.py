"""The contract as operators hand it out: from the admin listener."""

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from tests.contract.generated import files

TREE = {str(path).removeprefix("docs"): content for path, content in files().items()}


async def test_documents_are_listed_and_served(serving, broker):
    """All of them, as in the tree: with this configuration only the broker's address differs."""
    async with serving() as client:
        listed = json.loads((await client.get("/contract"))[1])["documents"]
        served = {path: await client.get(path) for path in listed}

    assert set(listed) == {path for path in TREE if path.startswith("/contract")}
    assert {(200, "application/json")} == {
        (status, headers["Content-Type"]) for status, _, headers in served.values()
    }
    for path in listed:
        if "schemas" in path:
            assert served[path][1] == TREE[path].decode()
    server = json.loads(served["/contract/asyncapi.json"][1])["servers"]["broker"]
    assert urlsplit(broker).netloc == f"guest:guest@{server['host']}"


async def test_many_ask_at_once(serving):
    """Each gets the document, and meanwhile the bridge answers others."""
    async with serving() as client:
        asked = [client.get("/contract/asyncapi.json") for _ in range(5)]
        found = await asyncio.gather(*asked, client.get("/healthz"))

    assert [200] * 6 == [status for status, *_ in found]
    assert 1 == len({text for _, text, _ in found[:5]})


@pytest.mark.parametrize("path", ["/contract/", "/contract/other.json", "/asyncapi.json"])
async def test_what_is_no_document(serving, path):
    """There is a 404 for it."""
    async with serving() as client:
        status, *_ = await client.get(path)

    assert 404 == status


async def test_the_token_guards_the_contract(serving):
    """It shows the broker's address and the routes: not for everybody."""
    async with serving(BRIDGE_SERVER__ADMIN_TOKEN="t0ken") as client:
        found = [await client.get(path) for path in ("/contract", "/contract/asyncapi.json")]

    assert [401, 401] == [status for status, *_ in found]
