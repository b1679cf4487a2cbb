"""A running bridge, and schemathesis that drives it by the document which it serves.

schemathesis is a program of its own here: it does not slow down the start of every other pytest,
and its settings of hypothesis do not mix with ours.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from tests.system.faults.process import ROOT, BridgeProcess
from tests.system.faults.webhooks import SECRET

TOKEN = "t0ken-of-the-tests"

EXAMPLES = os.environ.get("EXAMPLES", "5")
"""At most of each operation and kind, where schemathesis makes them up."""

SEED = os.environ.get("SEED", "1")

ENDPOINTS = [
    {"name": "superoffice", "path": "/webhook", "secrets": [{"env": "SUPEROFFICE_SECRET"}]},
    {"name": "open", "path": "/open", "allow_unsigned": True, "source": "/superoffice/open"},
]

CONFIG = Path(__file__).with_name("schemathesis.toml")


@dataclass(frozen=True, slots=True)
class Report:
    """What schemathesis found: ``text`` for people, ``found`` for programs."""

    text: str
    found: dict[str, Any]


class DrivenBridge(BridgeProcess):
    """A bridge with an endpoint of either kind, and a token for its admin pages."""

    def __init__(self, directory: Path, broker_url: str) -> None:
        """Take where its files shall be, and the broker."""
        super().__init__(
            directory,
            broker_url,
            BRIDGE_ENDPOINTS=json.dumps(ENDPOINTS),
            BRIDGE_SERVER__ADMIN_TOKEN=TOKEN,
        )
        self.directory = directory

    async def read(self, path: str) -> str:
        """Return a page of the admin listener."""
        url, token = f"http://127.0.0.1:{self.admin_port}{path}", f"Bearer {TOKEN}"
        async with (
            aiohttp.ClientSession(headers={"Authorization": token}) as session,
            session.get(url, raise_for_status=True) as response,
        ):
            return await response.text()

    async def document(self) -> dict[str, Any]:
        """Return the OpenAPI document that it serves."""
        return dict(json.loads(await self.read("/contract/openapi.json")))

    async def has_empty_spool(self) -> bool:
        """Return whether no event waits on disk."""
        return bool(json.loads(await self.read("/readyz"))["spool"]["events"] == 0)

    async def count(self, name: str, **labels: str) -> int:
        """Return the sum of the samples of a metric that have these labels."""
        page = await self.read("/metrics")
        found = re.findall(rf"^superoffice_bridge_{name}{{(.*)}} (\S+)$", page, flags=re.MULTILINE)
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        return int(sum(float(value) for given, value in found if wanted <= set(given.split(","))))


async def driven(bridge: DrivenBridge, document: dict[str, Any], *, trusted: bool) -> Report:
    """Let schemathesis ask for all that is in a document; ``trusted``: signed, with the token."""
    report = bridge.directory / "report.json"
    async with _served(document) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIG, "run", url),
            *("--max-examples", EXAMPLES, "--seed", SEED, "--no-color"),
            *("--report", "json", "--report-json-path", report),
            cwd=bridge.directory,
            env=_environment(trusted=trusted),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    text = output.decode()
    assert report.exists(), text
    return Report(text, json.loads(report.read_text()))


def _environment(*, trusted: bool) -> dict[str, str]:
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    secrets = {"SUPEROFFICE_SECRET": SECRET.decode(), "ADMIN_TOKEN": TOKEN}
    hooks = {"SCHEMATHESIS_HOOKS": "tests.system.openapi.signing"}
    return {**usual, **secrets, **hooks} if trusted else usual


@asynccontextmanager
async def _served(document: dict[str, Any]) -> AsyncIterator[str]:
    """Serve a document: one from a file is asked for at one server only, whatever it says."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.json_response(document)

    server = RawTestServer(answer)
    async with server:
        yield str(server.make_url("/openapi.json"))
