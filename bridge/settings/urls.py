"""The URL of a broker, which cannot show its password by accident."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote_to_bytes, urlencode, urlsplit

from pydantic import SecretBytes

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]")
_GUEST = "guest"

PARAMETERS = (
    "auth",
    "cadata",
    "cafile",
    "capath",
    "certfile",
    "heartbeat",
    "keyfile",
    "name",
    "no_verify_ssl",
    "timeout",
)
"""Query parameters of aiormq. A query is shown in logs, so no secret may be among them."""

_QUERY = re.compile(rf"(?:(?:{'|'.join(PARAMETERS)})=[^&;?]*(?:&(?!$)|$))*")

SHORT_STRING_BYTES = 255
"""Maximum length of an AMQP 0-9-1 short string (section 4.2.5.3)."""


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """An ``amqp`` or ``amqps`` URL, with its credentials kept apart.

    ``address`` is host and port as written, ``rest`` the virtual host and the query, still
    percent-encoded. ``str()`` gives the URL without its password.
    """

    scheme: str
    address: str
    rest: str
    username: bytes | None
    password: SecretBytes | None

    @classmethod
    def parse(cls, value: object) -> BrokerUrl:
        """Read a URL; raise ValueError, which may quote it, for one that cannot be used."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or _BLANK.search(value):
            raise ValueError("not a URL")
        parts = urlsplit(value)
        _check(parts)
        _check_vhost(parts.path)
        userinfo, _, address = parts.netloc.rpartition("@")
        username, _, password = userinfo.partition(":")
        return cls(
            scheme=parts.scheme,
            address=address,
            rest=f"{parts.path}?{parts.query}" if parts.query else parts.path,
            username=unquote_to_bytes(username) or None,
            password=SecretBytes(unquote_to_bytes(password)) if password else None,
        )

    @property
    def path(self) -> str:
        """Return the virtual host as it is written, after its slash; empty if there is none."""
        return self.rest.partition("?")[0]

    def __str__(self) -> str:
        """Return the URL with its own user name and without a password."""
        return self.safe(None)

    def safe(self, username: str | None) -> str:
        """Return the URL without a password. ``username`` replaces its own user name."""
        return f"{self.scheme}://{self._user(username)}@{self.address}{self.rest}"

    def complete(
        self,
        username: str | None,
        password: SecretBytes | None,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """Return the URL to connect to: with what is given, else its own, else guest."""
        chosen = password or self.password
        secret = quote(chosen.get_secret_value(), safe="") if chosen else _GUEST
        return f"{self.scheme}://{self._user(username)}:{secret}@{self.address}{self._rest(query)}"

    def external(self, query: Mapping[str, str] | None = None) -> str:
        """Return the URL without user name and password: the certificate says who connects."""
        return f"{self.scheme}://{self.address}{self._rest(query)}"

    def _rest(self, query: Mapping[str, str] | None) -> str:
        """Return ``rest`` with more query parameters, which override its own."""
        if not query or self.scheme != "amqps":
            return self.rest
        path, _, own = self.rest.partition("?")
        return f"{path}?{urlencode(query, quote_via=quote)}" + (f"&{own}" if own else "")

    def _user(self, username: str | None) -> str:
        return quote(username or self.username or _GUEST, safe="")


def _check(parts: SplitResult) -> None:
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError("an @ where part of a password could be shown")
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname or parts.fragment:
        raise ValueError("not the URL of a broker")
    if not _QUERY.fullmatch(parts.query):
        raise ValueError("an unknown parameter, which may be a secret")
    if parts.port == 0:  # reading it raises ValueError for one that is no number or too large
        raise ValueError("not a port to connect to")


def _check_vhost(path: str) -> None:
    """Raise ValueError unless it is an AMQP short string, in UTF-8."""
    vhost = unquote_to_bytes(path[1:])
    vhost.decode()  # UnicodeDecodeError is a ValueError
    if len(vhost) > SHORT_STRING_BYTES:
        raise ValueError("not a vhost")
