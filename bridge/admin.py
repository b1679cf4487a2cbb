"""The operator's side: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from bridge.http import json_response, problem
from bridge.metrics import CONTENT_TYPE, Metrics


class Admin:
    """Handles every request of the admin listener.

    ``status`` returns the members of ``/readyz``, among them the boolean ``ready``.
    """

    def __init__(self, *, status: Callable[[], Mapping[str, Any]], metrics: Metrics) -> None:
        self._status = status
        self._metrics = metrics
        self._pages: Mapping[str, Callable[[], web.Response]] = {
            "/healthz": lambda: json_response({"status": "alive"}),
            "/readyz": self._readyz,
            "/metrics": self._render,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        page = self._pages.get(request.path)
        if page is None:
            return problem(404, f"There are {', '.join(self._pages)}.")
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return problem(405, "Read with GET.", headers={"Allow": "GET, HEAD"}, close=True)
        return page()

    def _readyz(self) -> web.Response:
        status = self._status()
        return json_response(status, status=200 if status["ready"] else 503)

    def _render(self) -> web.Response:
        return web.Response(
            body=self._metrics.render(),
            headers={hdrs.CONTENT_TYPE: CONTENT_TYPE},
        )
