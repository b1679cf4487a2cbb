"""The API of a tenant: webhooks, their counters, and what the server is.

OpenAPI has nine operations of webhooks, ``PATCH`` the tenth.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson
from aiohttp import web

from bridge.dev.superoffice import archive
from bridge.dev.superoffice.credentials import Credentials
from bridge.dev.superoffice.definition import DEFAULT, NEVER, Caller, Definition, Webhook
from bridge.dev.superoffice.errors import ApiError, bad_request, not_found
from bridge.dev.superoffice.patch import patched
from bridge.dev.superoffice.tenant import Tenant

_Operation = Callable[[web.Request, Caller], Awaitable[Any]]

_SECOND: Final = timedelta(seconds=1)


class Api:
    """Answers requests to the API.

    ``url`` is where it is now, with the ``/api``. Raises ``ApiError``, which the server writes.
    """

    def __init__(
        self,
        tenant: Tenant,
        credentials: Credentials,
        *,
        url: Callable[[], str],
    ) -> None:
        self._tenant = tenant
        self._credentials = credentials
        self._url = url
        self._operations: tuple[tuple[str, str, _Operation], ...] = (
            ("GET", "Archive/dynamic", self.usage),
            ("GET", "Webhook", self.find_all),
            ("GET", "Webhook/default", self.default),
            ("POST", "Webhook", self.create),
            ("POST", "Webhook/Test", self.test),
            ("GET", r"Webhook/{id:\d+}", self.get),
            ("PUT", r"Webhook/{id:\d+}", self.replace),
            ("PATCH", r"Webhook/{id:\d+}", self.patch),
            ("DELETE", r"Webhook/{id:\d+}", self.delete),
            ("GET", r"Webhook/{id:\d+}/LastError", self.last_error),
            ("POST", r"Webhook/{event}/{primary_key:-?\d+}", self.signal),
        )

    def routes(self, prefix: str) -> list[web.RouteDef]:
        """Return the routes below a prefix such as ``/Cust12345/api``."""
        return [
            web.get(prefix, self.version),
            web.get(f"{prefix}/v1", self.supported),
            *(
                web.route(verb, f"{prefix}/v1/{path}", self._handler(operation))
                for verb, path, operation in self._operations
            ),
        ]

    def _handler(self, operation: _Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            given = (request.headers.get(name, "") for name in ("Authorization", "SO-AppToken"))
            answered = await operation(request, self._credentials.caller(*given))
            if answered is None:
                return web.Response(status=204)
            return web.json_response(_selected(request, answered))

        return handle

    async def version(self, request: web.Request) -> web.Response:
        """Tell the version (api/reference/restful/rest). It needs no credentials: unproved."""
        numbers = ".".join(map(str, self._tenant.rules.version))
        content = {
            "v1": f"{self._url()}/v1/",
            "Version": "v1",
            "NetServerVersion": f"{numbers}.1412.0",
            "NetServerDate": "2026-06-05",
            "NetServer": f"SuperOffice {numbers} NetServer",
        }
        return web.json_response(content)

    async def supported(self, request: web.Request) -> web.Response:
        """Tell every URL with its verbs. Only that they are told is documented, not how."""
        verbs: dict[str, list[str]] = {}
        for verb, path, _ in self._operations:
            if verb != "PATCH" or not self._tenant.faults.no_patch:
                verbs.setdefault(path.replace(r":\d+", "").replace(r":-?\d+", ""), []).append(verb)
        return web.json_response({f"{self._url()}/v1/{path}": verbs[path] for path in verbs})

    async def usage(self, request: web.Request, caller: Caller) -> Any:
        """Answer the counters of webhooks."""
        return archive.answer(
            self._tenant.webhooks.values(),
            request.query,
            url=f"{self._url()}/v1/Archive",
            next_link=self._tenant.faults.next_link,
        )

    async def find_all(self, request: web.Request, caller: Caller) -> Any:
        """List the webhooks that the caller sees; a filter is one exact value."""
        name, event = (request.query.get(key) for key in ("nameFilter", "eventFilter"))
        state = request.query.get("statusFilter", "Unknown")
        return [
            self._shown(webhook)
            for webhook in self._tenant.webhooks.values()
            if webhook.is_visible_to(caller)
            and (not name or name == webhook.definition.members["Name"])
            and (not event or webhook.definition.wants(event))
            and state in ("Unknown", webhook.standing.state.value)
        ]

    async def default(self, request: web.Request, caller: Caller) -> Any:
        """Answer a template."""
        never = {"Registered": NEVER, "Updated": NEVER}
        nobody = {"RegisteredAssociate": None, "UpdatedAssociate": None}
        return {"WebhookId": 0, **DEFAULT, **never, **nobody}

    async def create(self, request: web.Request, caller: Caller) -> Any:
        """Save a new webhook, which is answered 200 and not 201."""
        return self._linked(await self._save(Definition.of(await _body(request)), caller))

    async def get(self, request: web.Request, caller: Caller) -> Any:
        """Answer one webhook."""
        return self._linked(self._find(request, caller))

    async def replace(self, request: web.Request, caller: Caller) -> Any:
        """Save all of a webhook anew; the number in the path counts, not the body's (samples)."""
        webhook = self._find(request, caller)
        return self._linked(await self._save(Definition.of(await _body(request)), caller, webhook))

    async def patch(self, request: web.Request, caller: Caller) -> Any:
        """Save a webhook with changes."""
        if self._tenant.faults.no_patch:
            raise ApiError(405, "SoNotSupportedException", "the verb PATCH is not allowed")
        webhook = self._find(request, caller)
        _check_unmodified(request, webhook)
        changed = patched(webhook.as_json(with_counters=True), await _json(request))
        return self._linked(await self._save(Definition.of(changed), caller, webhook))

    async def delete(self, request: web.Request, caller: Caller) -> None:
        """Delete a webhook. One that is not there is a 404, which is unproved."""
        self._tenant.delete(self._find(request, caller))

    async def test(self, request: web.Request, caller: Caller) -> Any:
        """Test a definition without saving it."""
        answer = await self._tenant.test(Definition.of(await _body(request)))
        return {"Success": answer.is_success, "Message": answer.text}

    async def signal(self, request: web.Request, caller: Caller) -> None:
        """Raise any event, for the webhooks of everybody."""
        event, key = request.match_info["event"], int(request.match_info["primary_key"])
        data = await _body(request)
        self._tenant.raise_event(
            event, primary_key=key, changed_by=caller.associate_id, data=data or None
        )

    async def last_error(self, request: web.Request, caller: Caller) -> Any:
        """Answer the receiver's last bad answer: headers and body (tables: webhook-usage)."""
        return self._find(request, caller).standing.last_error

    async def _save(
        self, definition: Definition, caller: Caller, webhook: Webhook | None = None
    ) -> Webhook:
        return await self._tenant.save(definition, by=caller, webhook=webhook)

    def _find(self, request: web.Request, caller: Caller) -> Webhook:
        number = int(request.match_info["id"])
        webhook = self._tenant.webhooks.get(number)
        if webhook is None or not webhook.is_visible_to(caller):
            raise not_found(f"Webhook {number}")
        return webhook

    def _shown(self, webhook: Webhook) -> dict[str, Any]:
        return webhook.as_json(
            with_counters=self._tenant.rules.has_counters,
            mask_secret=self._tenant.faults.mask_secret,
        )

    def _linked(self, webhook: Webhook) -> dict[str, Any]:
        """Return a webhook with its links, which only a single answer has."""
        url = f"{self._url()}/v1/Webhook"
        return {**self._shown(webhook), "_Links": {"Self": f"{url}/{webhook.id}", "Archive": url}}


async def _json(request: web.Request) -> Any:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise bad_request("Entity to save is not in request body.") from error


async def _body(request: web.Request) -> Mapping[str, Any]:
    content = await _json(request)
    if not isinstance(content, dict):
        raise bad_request("Entity to save is not in request body.")
    return content


def _selected(request: web.Request, answered: Any) -> Any:
    """Return an answer with all members null that ``$select`` does not name (OpenAPI)."""
    names = request.query.get("$select")
    if names is None or not isinstance(answered, dict) or "WebhookId" not in answered:
        return answered
    kept = {name.strip().lower() for name in names.split(",")}
    return {name: answered[name] if name.lower() in kept else None for name in answered}


def _check_unmodified(request: web.Request, webhook: Webhook) -> None:
    """Raise ``ApiError`` if somebody saved it after If-Unmodified-Since, which has whole seconds.

    https://www.rfc-editor.org/rfc/rfc9110#name-if-unmodified-since
    """
    given = request.headers.get("If-Unmodified-Since")
    if given is None:
        return
    try:
        since = parsedate_to_datetime(given)
    except ValueError as error:
        raise bad_request("If-Unmodified-Since is no date") from error
    if webhook.changed() >= since.replace(tzinfo=since.tzinfo or UTC) + _SECOND:
        raise ApiError(412, "SoPreconditionException", "the webhook has changed since")
