"""The types of values in the configuration.

The description of a type says what is allowed, and after a semicolon why. Operators read it when a
value is wrong. What is allowed is also in docs/reference/config.md. A number may be a string,
because environment variables are strings. Nothing else is converted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    SecretBytes,
    StrictBool,
    StringConstraints,
)

from bridge.core.message import PARKED, UNROUTED
from bridge.core.routing import MAX_KEY_BYTES
from bridge.settings.urls import PARAMETERS, SHORT_STRING_BYTES, BrokerUrl

MIB = 1024 * 1024
MAX_MESSAGE_BYTES = 128 * MIB
"""Default ``max_message_size`` of RabbitMQ 3. RabbitMQ 4 has 16 MiB."""

SENDER_PATIENCE_SECONDS = 5
"""About how long SuperOffice tries to deliver an event, including its retries."""


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("true is not 1")
    return value


def switch(value: object) -> object:
    """Return the boolean for the text ``true`` or ``false``, and any other value unchanged."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _broker_name(value: str) -> str:
    """Raise ValueError for a name that RabbitMQ rejects, or silently changes (line breaks)."""
    fits = 0 < len(value.encode()) <= SHORT_STRING_BYTES
    if not fits or not value.isprintable() or value.startswith("amq."):
        raise ValueError("not a name for an exchange or a queue")
    return value


def _not_quarantine(value: str) -> str:
    if value in (PARKED, UNROUTED):
        raise ValueError("reserved")
    return value


def _sendable(token: SecretBytes) -> SecretBytes:
    """Raise ValueError for a token that no header can carry (RFC 6750 allows even less)."""
    if not all(0x21 <= byte <= 0x7E for byte in token.get_secret_value()):
        raise ValueError("not a token")
    return token


def _not_empty(value: tuple[_T, ...]) -> tuple[_T, ...]:
    # Not min_length: that would report the list as well when only an item in it is wrong.
    if not value:
        raise ValueError("empty")
    return value


def _file_path(value: object) -> object:
    name = str(value)
    usable = bool(name.strip()) and name.isprintable() and name != ":memory:"
    if not isinstance(value, str | Path) or not usable:
        raise ValueError("not a path of a file")
    return value


_T = TypeVar("_T")

_Number = BeforeValidator(_number)
_Text = StringConstraints(min_length=1, pattern=r"^\P{Cc}+$")

Host = Annotated[
    str,
    StringConstraints(pattern=r"^[^\s/]+$"),
    Field(description="an IP address or a host name"),
]
Port = Annotated[
    int,
    _Number,
    Field(ge=0, le=65_535, description="a whole number from 0 to 65535 (0: any free port)"),
]
BodyBytes = Annotated[
    int,
    _Number,
    Field(
        gt=0,
        le=MAX_MESSAGE_BYTES,
        description=f"a whole number of bytes from 1 to {MAX_MESSAGE_BYTES} (128 MiB); RabbitMQ"
        " takes no larger message",
    ),
]
Timeout = Annotated[
    float,
    _Number,
    Field(gt=0, allow_inf_nan=False, description="more than 0 seconds"),
]
Duration = Annotated[
    float,
    _Number,
    Field(ge=0, allow_inf_nan=False, description="0 seconds or more"),
]
ConfirmDeadline = Annotated[
    float,
    _Number,
    Field(
        gt=0,
        lt=SENDER_PATIENCE_SECONDS,
        allow_inf_nan=False,
        description=f"more than 0 and less than {SENDER_PATIENCE_SECONDS} seconds; SuperOffice"
        f" gives a delivery up after about {SENDER_PATIENCE_SECONDS} seconds, and by then the event"
        " must be on disk",
    ),
]
Count = Annotated[int, _Number, Field(ge=0, description="a whole number, 0 or more")]
Tries = Annotated[int, _Number, Field(ge=1, description="a whole number, 1 or more")]
SpoolBytes = Annotated[
    int,
    _Number,
    Field(ge=MIB, description=f"a whole number of bytes, {MIB} (1 MiB) or more"),
]
Flag = Annotated[StrictBool, Field(description="true or false; write no quotes")]
Switch = Annotated[
    StrictBool,
    BeforeValidator(switch),
    Field(description="true or false"),
]

EndpointName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$"),
    Field(description="a-z, 0-9, _ and -, beginning with a letter or digit"),
]
UrlPath = Annotated[
    str,
    # The characters of a path in RFC 3986, section 3.3.
    StringConstraints(pattern=r"^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$"),
    Field(description='a URL path from its "/", without query, fragment or braces'),
]
Context = Annotated[
    str, _Text, Field(description='a ContextIdentifier in quotes, such as "Cust12345", not empty')
]
Contexts = Annotated[
    tuple[Context, ...],
    Field(description='a list of ContextIdentifiers, such as ["Cust12345"], or [] for any'),
]
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_ABSOLUTE = rf"/(?:{_PCHAR}+(?:/{_PCHAR}*)*)?"
_AUTHORITY = rf"//[A-Za-z0-9.-]+(?::[0-9]+)?(?:/{_PCHAR}*)*"
_SCHEME = rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_AUTHORITY}|{_ABSOLUTE}|{_PCHAR}+(?:/{_PCHAR}*)*)"
_REST = rf"(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?"
_UriReference = StringConstraints(pattern=rf"^(?:{_SCHEME}|{_ABSOLUTE}){_REST}$")
"""A URI or an absolute path (RFC 3986). The source of a CloudEvent must be a URI reference."""

Source = Annotated[
    Annotated[str, _UriReference] | None,
    Field(description='a URI, or a path such as "/superoffice/oslo", percent-encoded'),
]
Username = Annotated[Annotated[str, _Text] | None, Field(description="a user name, not empty")]
Reference = Annotated[
    Annotated[str, _Text] | None,
    Field(description="the name of a variable, or the path of a file, not empty"),
]
Secret = Annotated[
    SecretBytes,
    Field(description='{ env = "NAME" } or { file = "/path" }, never the secret itself'),
]
Token = Annotated[
    Annotated[SecretBytes, AfterValidator(_sendable)] | None,
    Field(
        description='{ env = "NAME" } or { file = "/path" } of visible ASCII characters; never the'
        " token itself"
    ),
]
Default = Annotated[
    Annotated[SecretBytes, Field(min_length=1)] | None,
    Field(description="a password, not empty"),
]
Url = Annotated[
    InstanceOf[BrokerUrl],
    BeforeValidator(BrokerUrl.parse),
    PlainSerializer(str),
    Field(
        description="amqp://host:port/vhost or amqps://host:port/vhost, with / ? # [ ] @ : , % and"
        " blanks percent-encoded in user name, password and vhost, and nothing behind ? but"
        f" {', '.join(PARAMETERS)}, such as ?timeout=5"
    ),
]
Urls = Annotated[
    tuple[Url, ...],
    AfterValidator(_not_empty),
    Field(description='a list of URLs, such as ["amqp://127.0.0.1:5672/"]'),
]
QueueName = Annotated[
    str,
    AfterValidator(_broker_name),
    AfterValidator(_not_quarantine),
    Field(
        description=f"a name of 1 to {SHORT_STRING_BYTES} bytes; amq.* is RabbitMQ's, and"
        f" {UNROUTED} and {PARKED} are where the bridge keeps what it could not deliver"
    ),
]
ExchangeName = QueueName
TopicPattern = Annotated[
    str,
    StringConstraints(
        max_length=MAX_KEY_BYTES,
        pattern=r"^(?:[a-z0-9_%-]+|\*|#)(?:\.(?:[a-z0-9_%-]+|\*|#))*$",
    ),
    Field(
        description="words of a-z, 0-9, _, - and %, or * (one word) or # (any number of words),"
        f' with dots between, up to {MAX_KEY_BYTES} bytes, such as "contact.*"'
    ),
]
Bindings = Annotated[
    tuple[TopicPattern, ...],
    AfterValidator(_not_empty),
    Field(description='a list of topic patterns, such as ["contact.#"]'),
]
KeyTemplate = Annotated[
    str,
    StringConstraints(
        max_length=MAX_KEY_BYTES,
        pattern=r"^(?:[a-z0-9_.-]|\{(?:context|endpoint|entity|action|primary_key)\})+$",
    ),
    Field(
        description="{context}, {endpoint}, {entity}, {action}, {primary_key} and a-z, 0-9, _, -"
        f" and dots, up to {MAX_KEY_BYTES} bytes"
    ),
]
SpoolPath = Annotated[
    Path,
    BeforeValidator(_file_path),
    Field(description="a path of a file"),
]
PemFile = Annotated[
    Annotated[Path, BeforeValidator(_file_path)] | None,
    Field(description="a path of a PEM file"),
]
