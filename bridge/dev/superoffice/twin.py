"""The twin as a whole: its hosts, each a port of 127.0.0.1, and all that can be done to it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.dev.home import LOOPBACK
from bridge.dev.superoffice.api import Api
from bridge.dev.superoffice.clock import Clock
from bridge.dev.superoffice.control import Control
from bridge.dev.superoffice.credentials import App, Credentials
from bridge.dev.superoffice.errors import ApiError
from bridge.dev.superoffice.faults import Faults, Handler, TroubleMaker
from bridge.dev.superoffice.ledger import Call, Ledger
from bridge.dev.superoffice.login import Login, SigningKey
from bridge.dev.superoffice.rsa import PrivateKey
from bridge.dev.superoffice.rules import Rules
from bridge.dev.superoffice.tenant import Tenant

WRONG_HOST: Final = "Wrong subdomain used to access tenant"
"""Text of the 421 of a host that the tenant is not on (check-status)."""

ON_SITE: Final = "Default"
"""ContextIdentifier of installations on-site."""

_KEEPALIVE_SECONDS: Final = 15.0


class Host:
    """A server, on one port or on several, of which the last one is in use."""

    def __init__(
        self,
        routes: Iterable[web.RouteDef],
        answer: Middleware,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        app = web.Application(client_max_size=2**20)
        app.add_routes(routes)
        app.middlewares.append(answer)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=_KEEPALIVE_SECONDS, shutdown_timeout=1.0
        )
        self._tls = tls
        self._port = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self._port}"

    async def open(self) -> None:
        """Listen on a new port, on the former ones too."""
        if self._runner.server is None:
            await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, 0, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[-1][1]

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    def is_current(self, request: web.Request) -> bool:
        """Return whether a request came to the port in use."""
        transport = request.transport
        return transport is not None and transport.get_extra_info("sockname")[1] == self._port


class Twin:
    """A running twin; made by ``running``.

    ``app`` is the app that a client is, ``users`` are names and passwords for on-site. The members
    of ``tenant.faults`` can be changed at any time.
    """

    def __init__(
        self,
        tenant: Tenant,
        credentials: Credentials,
        *,
        signing_key: SigningKey,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.tenant = tenant
        self.clock = tenant.clock
        self.app = credentials.app
        self.users = credentials.users
        self._credentials = credentials
        self.path = "superoffice" if tenant.context == ON_SITE else tenant.context
        api = Api(tenant, credentials, url=lambda: self.api_url)
        login = Login(
            tenant,
            credentials,
            signing_key,
            tenant_url=lambda: f"{self._api_host.url}/{self.path}",
            url=lambda: self.login_url,
        )
        self._api_host = Host(api.routes(f"/{self.path}/api"), self._at_api, tls=tls)
        self._login_host = Host(login.routes(), self._at_login, tls=tls)
        self._control_host = Host(Control(self).routes(), _handle)
        self._api_trouble = TroubleMaker(lambda: tenant.faults.api)
        self._login_trouble = TroubleMaker(lambda: tenant.faults.login)

    @property
    def api_url(self) -> str:
        """Where the API is now: ``https://host/Cust12345/api``."""
        return f"{self._api_host.url}/{self.path}/api"

    @property
    def login_url(self) -> str:
        """The authentication host, which never moves."""
        return self._login_host.url

    @property
    def control_url(self) -> str:
        """Where the control routes are."""
        return self._control_host.url

    @property
    def ledger(self) -> Ledger:
        """What it sent and answered."""
        return self.tenant.ledger

    @property
    def faults(self) -> Faults:
        """What is wrong now."""
        return self.tenant.faults

    async def open(self) -> None:
        """Listen."""
        for host in (self._api_host, self._login_host, self._control_host):
            await host.open()

    async def close(self) -> None:
        """Lose the queue, and stop."""
        await self.tenant.sender.recycle()
        for host in (self._control_host, self._login_host, self._api_host):
            await host.close()

    async def move(self) -> None:
        """Move the API to another host; the former one answers 421 from now on."""
        await self._api_host.open()

    async def expire(self) -> None:
        """Let all tokens and tickets die."""
        self._credentials.expire()

    @web.middleware
    async def _at_api(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        async def answer(request: web.Request) -> web.StreamResponse:
            if not self._api_host.is_current(request):
                raise ApiError(421, "SoMisdirectedRequestException", WRONG_HOST)
            return await handler(request)

        return await self._noted(request, answer, self._api_trouble)

    @web.middleware
    async def _at_login(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        async def answer(request: web.Request) -> web.StreamResponse:
            if request.path.startswith(f"/{self.path}/api"):  # it only authenticates
                raise ApiError(421, "SoMisdirectedRequestException", WRONG_HOST)
            return await handler(request)

        return await self._noted(request, answer, self._login_trouble)

    async def _noted(
        self, request: web.Request, handler: Handler, trouble: TroubleMaker
    ) -> web.StreamResponse:
        """Answer a request, and write it down."""
        scheme = request.headers.get("Authorization", "").partition(" ")[0]
        status: int | None = None
        try:
            answer = await trouble.answer(request, lambda request: _handle(request, handler))
            hung_up = request.transport is None or request.transport.is_closing()
            status = None if hung_up else answer.status
            return answer
        finally:
            call = Call(self.clock.now(), request.method, request.path, scheme, status)
            self.ledger.calls.append(call)


@web.middleware
async def _handle(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request; errors of the API get their body, and those of aiohttp too."""
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.status)
    except web.HTTPException as error:
        body = ApiError(error.status, "HttpException", error.reason).body()
        return web.json_response(body, status=error.status)


@asynccontextmanager
async def running(
    rules: Rules | None = None,
    *,
    context: str = "Cust12345",
    speed: float = 1.0,
    app: App | None = None,
    users: Mapping[str, str] | None = None,
    signing_key: PrivateKey | None = None,
    trust: ssl.SSLContext | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Twin]:
    """Run a twin for the length of the block.

    ``speed`` shortens its pauses and lifetimes, see ``Clock``. ``trust`` has the CAs of its
    targets' certificates, by default the machine's; with ``tls`` its own hosts speak TLS. A
    ``signing_key`` saves the second that it takes to make one.
    """
    rules, clock = rules or Rules(), Clock(speed=speed)
    if not rules.is_online:
        context = ON_SITE
    connector = aiohttp.TCPConnector(limit=0, ssl=trust or True)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        )
        tenant = Tenant(context, rules=rules, clock=clock, session=session)
        credentials = Credentials(
            context,
            rules=rules,
            clock=clock,
            app=app or App(),
            users=dict(users or {"admin": "secret"}),
        )
        twin = Twin(tenant, credentials, signing_key=SigningKey(signing_key), tls=tls)
        stack.push_async_callback(twin.close)
        await twin.open()
        yield twin
