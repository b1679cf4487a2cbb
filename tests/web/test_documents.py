"""The contract as operators hand it out: from the admin listener."""

import asyncio
import json
import subprocess
import sys
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


STARTED = """
import asyncio, pathlib, sys, urllib.request
from bridge.lifecycle import running
from bridge.settings import load

async def main(config, spool):
    environ = {
        "SUPEROFFICE_SECRET": "secret",
        "BRIDGE_BROKER__URLS": "amqp://127.0.0.1:1",
        "BRIDGE_SERVER__PORT": "0",
        "BRIDGE_SERVER__ADMIN_PORT": "0",
        "BRIDGE_SPOOL__PATH": spool,
    }
    async with running(load(pathlib.Path(config), environ).settings) as service:
        for page in ("/metrics", "/contract", "/contract/asyncapi.json"):
            await asyncio.to_thread(urllib.request.urlopen, service.admin.url + page)
            print(page, "bridge.contract.asyncapi" in sys.modules)

asyncio.run(main(*sys.argv[1:]))
"""


def test_the_generator_is_loaded_when_somebody_asks_for_a_document(tmp_path):
    """Not at the start of the bridge, nor for the list of documents."""
    config = tmp_path / "empty.toml"
    config.touch()
    command = [sys.executable, "-c", STARTED, f"{config}", f"{tmp_path / 'spool.db'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    pages = [line for line in done.stdout.splitlines() if line.startswith("/")]
    assert ["/metrics False", "/contract False", "/contract/asyncapi.json True"] == pages
