"""The contract of one deployment: what of its settings shows, and the examples from the package."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from importlib import resources

import orjson

from bridge.contract import Deployment, Example, Webhook, documents, encode
from bridge.core.routing import Route
from bridge.settings import Settings


def deployment_of(settings: Settings) -> Deployment:
    """Return what the documents may show of the settings; no secret and no user name is in it."""
    server = settings.server
    return Deployment(
        brokers=tuple(
            f"{url.scheme}://{url.address}{url.rest.partition('?')[0]}"
            for url in settings.broker.urls
        ),
        exchange=settings.broker.exchange,
        routes=routes_of(settings),
        webhooks=tuple(
            Webhook(
                name=endpoint.name,
                path=endpoint.path,
                signed=not endpoint.allow_unsigned,
                contexts=endpoint.contexts,
                publish_test_events=endpoint.publish_test_events,
            )
            for endpoint in settings.endpoints
        ),
        port=server.port,
        admin_port=server.admin_port,
        max_body_bytes=server.max_body_bytes,
        read_timeout_seconds=server.read_timeout_seconds,
        https=server.tls_certificate is not None,
        admin_token=server.admin_token is not None,
    )


def routes_of(settings: Settings) -> tuple[Route, ...]:
    """Return the routes of the settings as the router takes them."""
    return tuple(
        Route(route.match, route.exchange, route.routing_key, raw=route.format == "raw")
        for route in settings.routes
    )


def with_examples(deployment: Deployment) -> Deployment:
    """Return the deployment with the golden requests that are stored in the package."""
    stored = resources.files("bridge.contract").joinpath("golden.json").read_bytes()
    examples = {
        name: Example(
            body=request["body"].encode(),
            headers=request["headers"],
            received_ns=request["received_ns"],
        )
        for name, request in orjson.loads(stored).items()
    }
    return replace(deployment, examples=examples)


class Documents:
    """The documents of a running bridge: each is made when it is first asked for, and kept."""

    def __init__(self, deployment: Deployment) -> None:
        self.use(deployment)

    def use(self, deployment: Deployment) -> None:
        """Describe another deployment from now on."""
        self._deployment = deployment
        self._made: dict[str, bytes] = {}
        self.names = tuple(documents(deployment))

    async def get(self, name: str) -> bytes:
        """Return one of ``names`` as JSON.

        Making it takes up to 40 ms, so a thread does it: events go on meanwhile.
        """
        made = self._made
        if name not in made:
            made[name] = await asyncio.to_thread(_make, name, self._deployment)
        return made[name]


def _make(name: str, deployment: Deployment) -> bytes:
    return encode(documents(with_examples(deployment))[name]())
