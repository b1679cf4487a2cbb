"""Faults on command, and the middleware that makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from aiohttp import web

from bridge.dev.superoffice.errors import ApiError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

GARBAGE: Final = (
    ("text/html", b"<html><body>Service unavailable</body></html>"),
    ("application/json", b'{"WebhookId": 1, "Name": "cut o'),
    ("application/json", b"[[[]]]"),
    ("application/json", b"null"),
    ("application/json", b'{"WebhookId": "one", "State": 7, "Events": {}, "value": "none"}'),
    ("application/json", b'\xff\xfe{"State":"Active"}'),
    ("application/json", b""),
)
"""Nonsense that a server in trouble answers with 200, one after another."""


@dataclass(slots=True)
class Trouble:
    """What is wrong with one of the servers; seconds are real ones."""

    delay: float = 0.0
    """How long it waits before it does anything."""
    status: int | None = None
    """What it answers to everything, doing nothing: 429, 503."""
    retry_after: int | None = None
    """The Retry-After of that answer. No document says that SuperOffice sends one."""
    garbage: bool = False
    """It does what it is asked, and answers nonsense."""
    hangs_up: bool = False
    """It closes every connection without an answer."""


@dataclass(slots=True)
class Faults:
    """What is wrong. A new one is a healthy twin."""

    api: Trouble = field(default_factory=Trouble)
    login: Trouble = field(default_factory=Trouble)
    refused_with: int | None = None
    """AuthorizeErrorCode that refresh tokens and system users are refused with: 1 is Revoked."""
    refuse_saves: bool = False
    """Saves fail, even if the ``test`` was answered 200."""
    no_patch: bool = False
    """PATCH is refused with 405, as by an IIS that was not told to let it through."""
    mask_secret: bool = False
    """Answers do not show the Secret."""
    next_link: str | None = None
    """The ``odata.nextLink`` of lists: one that must not be followed."""
    tenant_state: str = "Running"
    """The ``State`` of the tenant (check-status)."""

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Faults:
        """Return faults from an object. Raises ``TypeError`` for a name that there is not."""
        troubles = {name: Trouble(**content.get(name, {})) for name in ("api", "login")}
        return cls(**{**content, **troubles})

    def as_data(self) -> dict[str, Any]:
        """Return them as an object, for ``of``."""
        return asdict(self)


class TroubleMaker:
    """Makes the troubles of one server; ``trouble`` says which there are now."""

    def __init__(self, trouble: Callable[[], Trouble]) -> None:
        self._trouble = trouble
        self._answered = 0

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, with the troubles of this moment."""
        trouble = self._trouble()
        if trouble.delay:
            await asyncio.sleep(trouble.delay)
        if trouble.hangs_up:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()  # which nobody gets
        if trouble.status is not None:
            return _refusal(trouble.status, trouble.retry_after)
        answer = await handler(request)
        return self._nonsense() if trouble.garbage else answer

    def _nonsense(self) -> web.Response:
        content_type, body = GARBAGE[self._answered % len(GARBAGE)]
        self._answered += 1
        return web.Response(body=body, content_type=content_type)


def _refusal(status: int, retry_after: int | None) -> web.Response:
    error = ApiError(status, "SoServerException", "The server is busy")
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after}"}
    return web.json_response(error.body(), status=status, headers=headers)
