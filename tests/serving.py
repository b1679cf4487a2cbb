"""A whole service in this process, with real sockets on both sides."""

import base64
import hashlib
import hmac
import json
import uuid
from contextlib import asynccontextmanager

import aiohttp
import pytest

from bridge.lifecycle import NO_SOCKETS, running
from bridge.settings import load
from tests.helpers import eventually

SECRET = b"Kjempehemmelig"


def sign(body, secret=SECRET):
    """Sign as SuperOffice does, in other words than the bridge's."""
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()


def webhook(**changes):
    """Build a contact.changed webhook; a value of None leaves the property out."""
    content = {
        "EventId": str(uuid.uuid4()),
        "Timestamp": "2026-03-02T09:15:27.1234567Z",
        "Changes": ["name", "updatedCount"],
        "Event": "contact.changed",
        "PrimaryKey": 4711,
        "Entity": "contact",
        "ContextIdentifier": "Cust20001",
        "ChangedByAssociateId": 7,
        "WebhookName": "crm-sync",
        **changes,
    }
    return json.dumps({k: v for k, v in content.items() if v is not None}).encode()


class Client:
    """Talks to a running service as the sender and as the operator."""

    def __init__(self, service, session):
        self.service = service
        self._session = session

    async def post(self, body, *, path="/webhook", signature=None, headers=None, **options):
        """POST a body, signed unless a signature is given; return (status, JSON, headers)."""
        signed = {"X-SuperOffice-Signature": sign(body) if signature is None else signature}
        url = f"{self.service.listener.url}{path}"
        request = self._session.post(
            url, data=body, headers={**signed, **(headers or {})}, **options
        )
        async with request as response:
            return response.status, await response.json(content_type=None), response.headers

    async def get(self, path, *, method="GET", url=None):
        """Ask the admin listener; return (status, text, headers)."""
        request = self._session.request(method, f"{url or self.service.admin.url}{path}")
        async with request as response:
            return response.status, await response.text(), response.headers

    async def metric(self, name, **labels):
        """Return the value of one sample of /metrics, 0 when it has none."""
        _, text, _ = await self.get("/metrics")
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in text.splitlines():
            found, _, value = line.rpartition(" ")
            bare, _, given = found.partition("{")
            if bare == f"superoffice_bridge_{name}" and wanted <= set(given[:-1].split(",")):
                return float(value)
        return 0.0


@pytest.fixture
def serving(broker, tmp_path):
    """Return a context manager that runs a service with settings from the environment."""

    @asynccontextmanager
    async def run(*, wait=True, secret=SECRET, shared=NO_SOCKETS, **environ):
        defaults = {
            "SUPEROFFICE_SECRET": secret.decode(),
            "BRIDGE_BROKER__URLS": broker,
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__PORT": "0",
            "BRIDGE_SERVER__ADMIN_PORT": "0",
            "BRIDGE_SERVER__SHUTDOWN_GRACE_SECONDS": "5",
            "BRIDGE_SPOOL__PATH": str(tmp_path / "spool.db"),
        }
        config = tmp_path / "empty.toml"
        config.touch()
        settings = load(config, {**defaults, **environ}).settings
        async with running(settings, shared) as service, aiohttp.ClientSession() as session:
            if wait:
                await eventually(lambda: service.publisher.is_ready)
            yield Client(service, session)

    return run
