"""What of one deployment shows in its documents. Nothing of it is secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.core.routing import Route


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One endpoint: the path that SuperOffice posts to, and whom it lets in."""

    name: str = "superoffice"
    path: str = "/webhook"
    signed: bool = True
    contexts: tuple[str, ...] = ()
    publish_test_events: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A golden request: the bytes of a webhook, and the headers that came with them."""

    body: bytes
    headers: Mapping[str, str]
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What the documents are made for; without arguments it is the default configuration.

    ``brokers`` are URLs without user and password. ``examples`` are by name of their event, such as
    ``contact.created``.
    """

    brokers: tuple[str, ...] = ("amqp://127.0.0.1:5672/",)
    exchange: str = "superoffice"
    routes: tuple[Route, ...] = ()
    webhooks: tuple[Webhook, ...] = (Webhook(),)
    port: int = 8080
    admin_port: int = 8081
    max_body_bytes: int = 1_048_576
    read_timeout_seconds: float = 5.0
    https: bool = False
    """Whether the public listener itself speaks TLS."""
    admin_token: bool = False
    """Whether the admin listener wants a token."""
    examples: Mapping[str, Example] = field(default_factory=dict)
