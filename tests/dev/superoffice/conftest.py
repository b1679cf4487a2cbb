"""A twin, a client of its API, and a server that its webhooks point at: all on real sockets."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import deque
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bridge.dev.superoffice.rsa import PrivateKey
from bridge.dev.superoffice.rules import Rules
from bridge.dev.superoffice.twin import running
from tests.serving import sign

SPEED = 50


@dataclass
class Received:
    """One POST as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def is_signed_with(self, secret: bytes) -> bool:
        """Return whether its signature is that of the secret."""
        return bool(sign(self.body, secret) == self.headers.get("X-SuperOffice-Signature"))


@dataclass
class Receiver:
    """A server that notes what comes, and answers ``script`` first, then always ``status``."""

    url: str = ""
    status: int = 200
    script: deque[int] = field(default_factory=deque)
    received: list[Received] = field(default_factory=list)
    decide: Any = None

    @property
    def events(self) -> list[Received]:
        """What came, without tests."""
        return [one for one in self.received if one.headers["X-SuperOffice-Event"] != "test"]

    @property
    def tests(self) -> list[Received]:
        """The tests that came."""
        return [one for one in self.received if one.headers["X-SuperOffice-Event"] == "test"]

    async def answer(self, request):
        """Note a request and answer it."""
        received = Received(request.raw_path, request.headers.copy(), await request.read())
        self.received.append(received)
        if self.decide is not None:
            status = await self.decide(received)
        else:
            status = self.script.popleft() if self.script else self.status
        headers = {"X-Reason": "why", "Location": "/elsewhere"}
        return web.Response(status=status, text=f"answer {status}", headers=headers)


class Client:
    """Calls a twin: its API with credentials, the other hosts without."""

    def __init__(self, twin, session):
        self.twin = twin
        self.session = session
        self.headers = {}

    async def call(self, method, path, content=None, **options):
        """Call the API; return status, JSON (None without a body), headers."""
        headers = {**self.headers, **options.pop("headers", {})}
        url = f"{options.pop('url', None) or self.twin.api_url}{path}"
        if content is not None:
            options["json"] = content
        async with self.session.request(method, url, headers=headers, **options) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None, response.headers

    async def get(self, number=1):
        """Return a webhook as the API shows it."""
        status, content, _ = await self.call("GET", f"/v1/Webhook/{number}")
        assert 200 == status
        return content

    async def make(self, url, *events, **members):
        """Make a webhook and return it."""
        content = definition(url, *(events or ("contact.created",)), **members)
        status, made, _ = await self.call("POST", "/v1/Webhook", content)
        assert 200 == status, made
        return made

    async def control(self, method, path, content=None):
        """Call a control route."""
        return await self.call(method, path, content, url=self.twin.control_url)

    async def refresh(self, **changes):
        """Ask for an access token; return status and JSON."""
        app = self.twin.app
        form = {
            "grant_type": "refresh_token",
            "client_id": app.client_id,
            "client_secret": app.client_secret,
            "refresh_token": app.refresh_token,
            **changes,
        }
        url = f"{self.twin.login_url}/login/common/oauth/tokens"
        async with self.session.post(url, data=form) as response:
            return response.status, await response.json()

    async def log_in(self):
        """Use a new access token from now on."""
        status, content = await self.refresh()
        assert 200 == status
        self.headers["Authorization"] = f"Bearer {content['access_token']}"


def basic(name, password):
    """Return the value of an Authorization header."""
    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


def definition(url, *events, **members):
    """Return a webhook as a client saves it."""
    return {
        "Name": "crm-sync",
        "Events": list(events),
        "TargetUrl": f"{url}/webhook",
        "Secret": "nøkkel",
        "State": "Active",
        "Type": "webhook",
        **members,
    }


@asynccontextmanager
async def listening(tls=None):
    """Run a server that webhooks can point at, with TLS if there is a context for it."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    scheme = "https" if tls else "http"
    receiver.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def receiver():
    """Run a server that webhooks can point at."""
    async with listening() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def signing_key():
    """Make the one key of all twins, which takes a second."""
    return PrivateKey.generate()


@pytest.fixture
def twins(signing_key):
    """Return a context manager that runs a twin and yields a client, logged in if it is online."""

    @asynccontextmanager
    async def run(rules=None, *, speed=SPEED, **options):
        rules = rules or Rules()
        options = {"signing_key": signing_key, **options}
        async with (
            running(rules, speed=speed, **options) as twin,
            aiohttp.ClientSession() as session,
        ):
            client = Client(twin, session)
            if rules.is_online:
                await client.log_in()
            else:
                client.headers["Authorization"] = basic("admin", "secret")
            yield client

    return run


@pytest.fixture
async def client(twins):
    """Run a twin and return a client of its API."""
    async with twins() as client:
        yield client
