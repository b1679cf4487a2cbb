"""Who may call: users with passwords, and apps with tokens and tickets.

Basic is for on-site, Bearer and SOTicket are for Online (api/config/webapi). A ticket needs the
app's secret beside it, as SO-AppToken (api/authentication/online; samples).
"""

from __future__ import annotations

import binascii
import secrets
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

from bridge.dev.superoffice.clock import Clock
from bridge.dev.superoffice.definition import Caller
from bridge.dev.superoffice.errors import unauthorized
from bridge.dev.superoffice.rsa import PrivateKey
from bridge.dev.superoffice.rules import Rules

SYSTEM_USER: Final = 99
"""The AssociateId of a system user. Unproved, the number."""

_MINUTE: Final = "%Y%m%d%H%M"
"""The form of the time in a signed token (api/authentication/online/auth-application)."""


class AuthorizeError(IntEnum):
    """AuthorizeErrorCode (api/authentication/online/troubleshooting)."""

    REVOKED = 1
    INVALID_REDIRECT_URL = 2
    EXPIRED = 3
    DENIED = 4
    NEEDS_REAPPROVAL = 5
    INVALID_TIMESTAMP = 6
    INVALID_SIGNATURE = 7


class NotAuthorized(Exception):
    """A system user is refused, with its code."""

    def __init__(self, code: AuthorizeError) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(slots=True)
class App:
    """An app of the Developer Portal, with what a tenant's consent gave it.

    ``key`` is for system users; without one they are refused.
    """

    client_id: str = "0a1b2c3d4e5f"
    client_secret: str = field(default_factory=lambda: secrets.token_hex(16))
    refresh_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    system_token: str = field(default_factory=lambda: f"Bridge-{secrets.token_hex(5)}")
    key: PrivateKey | None = None


class Credentials:
    """The tokens and tickets that are alive. Times are those of the twin's clock."""

    def __init__(
        self, context: str, *, rules: Rules, clock: Clock, app: App, users: dict[str, str]
    ) -> None:
        self.context = context
        self.app = app
        self.users = users
        self._rules = rules
        self._clock = clock
        self._tokens: dict[str, float] = {}
        self._tickets: dict[str, float] = {}

    def caller(self, authorization: str, app_token: str) -> Caller:
        """Return who a request is from, by two of its headers. Raises ``ApiError`` (401)."""
        scheme, _, value = authorization.partition(" ")
        online, name = self._rules.is_online, scheme.lower()
        if name == "basic" and not online:
            return self._user(value)
        if name == "bearer" and online and self._is_alive(self._tokens, value):
            return Caller(7, "The user of the token", app=self.app.client_id)
        if name == "soticket" and online and app_token == self.app.client_secret:
            return self._ticket_holder(value)
        raise unauthorized("Authentication failed")

    def new_token(self) -> str:
        """Return a new access token: ``8A:`` and the context (samples)."""
        token = f"8A:{self.context}.{secrets.token_urlsafe(24)}"
        self._tokens[token] = self._clock.seconds() + self._rules.token_seconds
        return token

    def new_ticket(self) -> str:
        """Return a new ticket (api/authentication/online/auth-application)."""
        ticket = f"7T:{secrets.token_urlsafe(24)}"
        self._tickets[ticket] = self._clock.seconds() + self._rules.ticket_seconds
        return ticket

    def expire(self) -> None:
        """Let every token and ticket die now."""
        self._tokens.clear()
        self._tickets.clear()

    def check_system_user(self, signed: str, app_token: str, context: str) -> None:
        """Accept a SignedSystemToken, or raise ``NotAuthorized``.

        It is ``token.yyyyMMddHHmm.signature``, signed up to the second point, in UTC. Which code
        belongs to a wrong secret or context is unproved.
        """
        signed_part, _, signature = signed.rpartition(".")
        token, _, minute = signed_part.rpartition(".")
        expected = (self.app.system_token, self.app.client_secret, self.context)
        if (token, app_token, context) != expected:
            raise NotAuthorized(AuthorizeError.DENIED)
        if not self._is_signed(signed_part, signature):
            raise NotAuthorized(AuthorizeError.INVALID_SIGNATURE)
        if not self._is_near(minute):
            raise NotAuthorized(AuthorizeError.INVALID_TIMESTAMP)

    def _ticket_holder(self, ticket: str) -> Caller:
        """Accept a ticket, and let it live on: its six hours begin anew."""
        if not self._is_alive(self._tickets, ticket):
            raise unauthorized("Authentication failed")
        self._tickets[ticket] = self._clock.seconds() + self._rules.ticket_seconds
        app, kind = self.app.client_id, "SystemAssociate"
        return Caller(SYSTEM_USER, "The system user", app=app, kind=kind)

    def _user(self, value: str) -> Caller:
        name, password = decoded_basic(value)
        if name in self.users and self.users[name] == password:
            return Caller(5, name)
        raise unauthorized("Authentication failed")

    def _is_alive(self, known: dict[str, float], value: str) -> bool:
        return value in known and known[value] > self._clock.seconds()

    def _is_signed(self, signed_part: str, signature: str) -> bool:
        if self.app.key is None:
            return False
        try:
            decoded = b64decode(signature, validate=True)
        except binascii.Error:
            return False
        return self.app.key.public.verifies(decoded, signed_part.encode())

    def _is_near(self, minute: str) -> bool:
        try:
            given = datetime.strptime(minute, _MINUTE).replace(tzinfo=UTC)
        except ValueError:
            return False
        away = abs((self._clock.now() - given).total_seconds())
        return away <= self._rules.timestamp_seconds


def decoded_basic(value: str) -> tuple[str, str]:
    """Return name and password of Basic credentials, empty ones if they cannot be read."""
    try:
        name, _, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password
