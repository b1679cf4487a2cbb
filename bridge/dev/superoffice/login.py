"""The authentication host: the tenant's state, tokens and tickets. It serves no API.

check-status has the state; api/authentication/online has the rest.
"""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import orjson
from aiohttp import web

from bridge.dev.superoffice.credentials import (
    AuthorizeError,
    Credentials,
    NotAuthorized,
    decoded_basic,
)
from bridge.dev.superoffice.definition import as_text
from bridge.dev.superoffice.errors import bad_request
from bridge.dev.superoffice.rsa import PrivateKey
from bridge.dev.superoffice.tenant import Tenant

STATES: Final = (
    *("Unknown", "Provisioning", "Running", "Deleted", "Suspended", "OnlineMaintenance"),
    *("OfflineMaintenance", "ProvisioningFailed", "Deleting", "DeleteFailed", "MigrationPending"),
)
"""States of a tenant (check-status)."""

_CLAIMS: Final = "http://schemes.superoffice.net/identity/"
_SERIAL: Final = "1234567890"


class SigningKey:
    """The key of the tokens, made when it is first needed: that takes a second, on a thread."""

    def __init__(self, key: PrivateKey | None = None) -> None:
        self._key = key
        self._lock = asyncio.Lock()

    async def get(self) -> PrivateKey:
        """Return the key."""
        async with self._lock:
            if self._key is None:
                self._key = await asyncio.to_thread(PrivateKey.generate)
            return self._key


@dataclass(frozen=True, slots=True)
class Login:
    """Handlers of the authentication host. The addresses may change at any time.

    ``tenant_url`` is where the tenant is now, without the ``/api``; ``url`` is this host.
    """

    tenant: Tenant
    credentials: Credentials
    signing_key: SigningKey
    tenant_url: Callable[[], str]
    url: Callable[[], str]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; both spellings of ``login`` are in the documents."""
        return [
            web.get("/api/state/{context}", self.state),
            web.get("/login/.well-known/openid-configuration", self.metadata),
            web.get("/login/.well-known/jwks", self.keys),
            web.post("/login/common/oauth/tokens", self.tokens),
            web.post("/Login/api/PartnerSystemUser/Authenticate", self.system_user),
            web.post("/login/api/PartnerSystemUser/Authenticate", self.system_user),
        ]

    async def state(self, request: web.Request) -> web.Response:
        """Tell where the API is; of another tenant the state is Unknown, which is unproved."""
        context = request.match_info["context"]
        is_ours = context == self.tenant.context
        state = self.tenant.faults.tenant_state if is_ours else "Unknown"
        clock = self.tenant.clock
        until = clock.now() + timedelta(seconds=self.tenant.rules.state_seconds / clock.speed)
        url = self.tenant_url()
        content = {
            "ContextIdentifier": context,
            "Endpoint": url if is_ours else None,
            "State": state,
            "IsRunning": state in ("Running", "OnlineMaintenance"),
            "ValidUntil": as_text(until),
            "Api": f"{url}/api" if is_ours else None,
        }
        return web.json_response(content)

    async def metadata(self, request: web.Request) -> web.Response:
        """Answer the OpenID metadata."""
        login = f"{self.url()}/login"
        content = {
            "issuer": self.url(),
            "authorization_endpoint": f"{login}/common/oauth/authorize",
            "token_endpoint": f"{login}/common/oauth/tokens",
            "jwks_uri": f"{login}/.well-known/jwks",
            "scopes_supported": ["openid"],
            "grant_types_supported": ["implicit", "authorization_code", "refresh_token"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        }
        return web.json_response(content)

    async def keys(self, request: web.Request) -> web.Response:
        """Answer the public key of the tokens: https://www.rfc-editor.org/rfc/rfc7517."""
        public = (await self.signing_key.get()).public
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": "twin",
            "n": _base64url(public.n.to_bytes(public.size)),
            "e": _base64url(public.e.to_bytes(3)),
        }
        return web.json_response({"keys": [key]})

    async def tokens(self, request: web.Request) -> web.Response:
        """Give an access token for a refresh token, which lives on and is not renewed."""
        form = await request.post()
        client, app = _client(request, form), self.credentials.app
        if form.get("grant_type") != "refresh_token":
            return _oauth_error(400, "unsupported_grant_type")
        if client != (app.client_id, app.client_secret):
            return _oauth_error(401, "invalid_client")
        if self.tenant.faults.refused_with or form.get("refresh_token") != app.refresh_token:
            return _oauth_error(400, "invalid_grant")
        lives = self.tenant.rules.token_seconds / self.tenant.clock.speed
        content = {
            "token_type": "Bearer",
            "access_token": self.credentials.new_token(),
            "expires_in": max(1, int(lives)),
            "id_token": await self._token(self.url(), app.client_id, {}),
        }
        return web.json_response(content)

    async def system_user(self, request: web.Request) -> web.Response:
        """Give a ticket, inside a token, for a signed system user token.

        A refusal has the status 200 as well; the words of its ErrorMessage are unproved.
        """
        content = await _object(request)
        names = ("SignedSystemToken", "ApplicationToken", "ContextIdentifier")
        given = [str(content.get(name, "")) for name in names]
        refused_with = self.tenant.faults.refused_with
        try:
            if refused_with:
                raise NotAuthorized(AuthorizeError(refused_with))
            self.credentials.check_system_user(*given)
            if content.get("ReturnTokenType") != "JWT":
                raise NotAuthorized(AuthorizeError.DENIED)  # the twin writes no SAML
        except NotAuthorized as error:
            message = f"{error.code.value}: {error.code.name}"
            return web.json_response(
                {"IsSuccessful": False, "Token": None, "ErrorMessage": message}
            )
        claims = {f"{_CLAIMS}ticket": self.credentials.new_ticket()}
        token = await self._token("SuperOffice AS", f"spn:{_SERIAL}", claims)
        return web.json_response({"IsSuccessful": True, "Token": token, "ErrorMessage": None})

    async def _token(self, issuer: str, audience: str, claims: Mapping[str, str]) -> str:
        """Return a signed JWT: https://www.rfc-editor.org/rfc/rfc7519."""
        now, url = int(self.tenant.clock.now().timestamp()), self.tenant_url()
        content = {
            "iss": issuer,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            f"{_CLAIMS}ctx": self.tenant.context,
            f"{_CLAIMS}serial": _SERIAL,
            f"{_CLAIMS}webapi_url": f"{url}/api/",
            f"{_CLAIMS}netserver_url": f"{url}/Remote/Services88/",
            **claims,
        }
        header = {"alg": "RS256", "typ": "JWT", "kid": "twin"}
        signed = ".".join(_base64url(orjson.dumps(part)) for part in (header, content))
        key = await self.signing_key.get()
        return f"{signed}.{_base64url(key.sign(signed.encode()))}"


def _client(request: web.Request, form: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return id and secret of a client, from the form or by Basic; both are in the metadata."""
    given = request.headers.get("Authorization")
    if given is None:
        return form.get("client_id"), form.get("client_secret")
    return decoded_basic(given.partition(" ")[2])


def _oauth_error(status: int, name: str) -> web.Response:
    """Return an error of https://www.rfc-editor.org/rfc/rfc6749#section-5.2 (unproved here)."""
    return web.json_response({"error": name}, status=status)


async def _object(request: web.Request) -> Mapping[str, Any]:
    try:
        content = orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise bad_request("the body is not JSON") from error
    if not isinstance(content, dict):
        raise bad_request("the body is not an object")
    return content


def _base64url(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()
