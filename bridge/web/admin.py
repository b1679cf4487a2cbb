"""The admin listener: whether the bridge is alive and ready, its metrics, and its contract.

With a token all of it is for the operator alone. Probes can hardly keep a secret, so they may ask
their two questions without it, and get yes or no.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

import structlog
from aiohttp import hdrs, web

from bridge.metrics import Metrics
from bridge.sampling import Sampled
from bridge.web.answers import ADMIN_REJECTIONS
from bridge.web.responses import json_response, reject

_PROBES = ("/healthz", "/readyz")

_CONTRACT = "/contract"

_KEPT = 10
"""How long the page of metrics is kept, in multiples of the time that it took to make.

A client that asks for it without end, on a listener without a token, gets a tenth of a core."""

log = structlog.get_logger()


class Documents(Protocol):
    """The documents of the contract, by name."""

    names: tuple[str, ...]

    async def get(self, name: str) -> bytes:
        """Return one of ``names`` as JSON."""
        ...


class Admin:
    """Handles every request of the admin listener.

    ``status`` returns the members of ``/readyz``; one is the boolean ``ready``. Without a ``token``
    any client may read everything.
    """

    def __init__(
        self,
        *,
        status: Callable[[], Mapping[str, Any]],
        metrics: Metrics,
        documents: Documents,
        token: bytes | None,
    ) -> None:
        self._status = status
        self._metrics = metrics
        self._documents = documents
        self._named = {f"{_CONTRACT}/{name}": name for name in documents.names}
        self._token = token
        self._refusals = Sampled()
        self._page = b""
        self._page_until = 0.0
        self._pages: Mapping[str, Callable[[bool], web.Response]] = {
            "/healthz": lambda trusted: json_response({"status": "alive"}),
            "/readyz": self._readyz,
            "/metrics": lambda trusted: self._render(),
            _CONTRACT: lambda trusted: json_response({"documents": list(self._named)}),
        }

    @property
    def paths(self) -> tuple[str, ...]:
        """Return every path that has a page."""
        return (*self._pages, *self._named)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        trusted = self._trusts(request)
        if not trusted and request.path not in _PROBES:
            if self._refusals.lets("token"):
                log.warning("admin_refused", remote=request.remote)
            return reject(ADMIN_REJECTIONS["token"])
        page, document = self._pages.get(request.path), self._named.get(request.path)
        if page is None and document is None:
            return reject(ADMIN_REJECTIONS["path"], pages=", ".join(self._pages))
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return reject(ADMIN_REJECTIONS["method"])
        return page(trusted) if page else await self._document(f"{document}")

    def _trusts(self, request: web.BaseRequest) -> bool:
        if self._token is None:
            return True
        scheme, _, sent = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        sent_bytes = sent.encode("utf-8", "surrogateescape")  # a token itself is ASCII
        same = hmac.compare_digest(sent_bytes, self._token)
        return same and scheme.lower() == "bearer"

    def _readyz(self, trusted: bool) -> web.Response:
        status = self._status()
        shown = status if trusted else {"ready": status["ready"]}
        return json_response(shown, status=200 if status["ready"] else 503)

    def _render(self) -> web.Response:
        from bridge import exposition  # its library would hold up the start

        begun = perf_counter()
        if begun >= self._page_until:
            self._page = exposition.render(self._metrics)
            self._page_until = (1 + _KEPT) * perf_counter() - _KEPT * begun
        return web.Response(body=self._page, headers={hdrs.CONTENT_TYPE: exposition.CONTENT_TYPE})

    async def _document(self, name: str) -> web.Response:
        return web.Response(body=await self._documents.get(name), content_type="application/json")
