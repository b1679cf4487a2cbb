"""The twin's own routes, on a port of their own: faults, a person at work, and the ledger.

They do over HTTP what ``Twin`` does in Python, for programs in other processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from bridge.dev.superoffice.definition import Webhook
from bridge.dev.superoffice.errors import bad_request, not_found
from bridge.dev.superoffice.faults import Faults
from bridge.dev.superoffice.lifecycle import State

if TYPE_CHECKING:
    from bridge.dev.superoffice.twin import Twin


class Control:
    """Handlers of the control routes. A refusal is an ``ApiError``, as in the API."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._actions = {
            "move": twin.move,
            "expire": twin.expire,
            "recycle": twin.tenant.sender.recycle,
            "idle": twin.tenant.sender.idle,
        }

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/faults", self.faults),
            web.put("/faults", self.set_faults),
            web.get("/addresses", self.addresses),
            web.get("/ledger", self.ledger),
            web.post("/events", self.raise_events),
            web.post("/webhooks", self.make),
            web.put(r"/webhooks/{id:\d+}/state", self.set_state),
            web.delete(r"/webhooks/{id:\d+}", self.delete),
            web.post("/{action:" + "|".join(self._actions) + "}", self.act),
        ]

    async def faults(self, request: web.Request) -> web.Response:
        """Tell the faults of now."""
        return web.json_response(self._twin.tenant.faults.as_data())

    async def set_faults(self, request: web.Request) -> web.Response:
        """Have these faults and no others: ``{}`` is a healthy twin."""
        try:
            self._twin.tenant.faults = Faults.of(await _object(request))
        except TypeError as error:
            raise bad_request(f"{error}") from error
        return await self.faults(request)

    async def addresses(self, request: web.Request) -> web.Response:
        """Tell where API and authentication host are now."""
        return web.json_response({"api": self._twin.api_url, "login": self._twin.login_url})

    async def ledger(self, request: web.Request) -> web.Response:
        """Answer the ledger as data."""
        body = orjson.dumps(self._twin.tenant.ledger.as_data())
        return web.Response(body=body, content_type="application/json")

    async def raise_events(self, request: web.Request) -> web.Response:
        """Let ``event`` happen ``count`` times, once if nothing is said; answer their ids."""
        content = await _object(request)
        event, key, count = (
            content.get("event"),
            content.get("primary_key"),
            content.get("count", 1),
        )
        if not (isinstance(event, str) and isinstance(count, int)):
            raise bad_request("event must be a name, count a number")
        raise_event = self._twin.tenant.raise_event
        ids = [raise_event(event, primary_key=key) for _ in range(count)]
        return web.json_response({"event_ids": ids})

    async def make(self, request: web.Request) -> web.Response:
        """Let a person make a webhook."""
        made = await self._twin.tenant.make_by_hand(await _object(request))
        return web.json_response({"WebhookId": made.id})

    async def set_state(self, request: web.Request) -> web.Response:
        """Let a person stop or start a webhook: ``{"State": "Stopped"}``."""
        content = await _object(request)
        if content.get("State") not in (State.ACTIVE, State.STOPPED):
            raise bad_request("a person sets Active or Stopped")
        webhook = self._find(request)
        await self._twin.tenant.set_state_by_hand(webhook, State(content["State"]))
        return web.Response(status=204)

    async def delete(self, request: web.Request) -> web.Response:
        """Let a person delete a webhook."""
        self._twin.tenant.delete(self._find(request))
        return web.Response(status=204)

    async def act(self, request: web.Request) -> web.Response:
        """Move the API, let all tokens expire, lose the queue, or wait until it is empty."""
        await self._actions[request.match_info["action"]]()
        return web.Response(status=204)

    def _find(self, request: web.Request) -> Webhook:
        number = int(request.match_info["id"])
        if number not in self._twin.tenant.webhooks:
            raise not_found(f"Webhook {number}")
        return self._twin.tenant.webhooks[number]


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        content = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise bad_request("the body is not JSON") from error
    if not isinstance(content, dict):
        raise bad_request("the body is not an object")
    return content
