"""The errors of aio-pika, aiormq and pamqp, translated into ours. They stop here."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import aiormq
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelClosed,
    ConnectionClosed,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)
from pamqp.exceptions import PAMQPException
from yarl import URL

from bridge import tls
from bridge.aio import is_cancelled
from bridge.core.errors import BridgeError, BrokerUnreachable, NoRoom

ANSWER_SECONDS = 5.0
"""How long to wait for a connection, and for each answer of the broker, until ``TimeoutError``."""

_ENABLE = "enable rabbitmq_auth_mechanism_ssl and name EXTERNAL in auth_mechanisms there"
_NAMESAKE = (
    "RabbitMQ must have a user with the name in [broker] client_certificate: which name counts is"
    " its ssl_cert_login_from"
)

_ERRORS = (
    AMQPError,
    PAMQPException,
    EOFError,
    LookupError,
    OSError,
    ssl.SSLError,
    TimeoutError,
    RuntimeError,  # aiormq's ChannelInvalidStateError is one
    ValueError,
    struct.error,
)
"""Everything that a dying connection may raise."""

_NOT_ALLOWED = 530
"""Reply code for a limit, but also for a virtual host that does not exist."""
_LIMIT = re.compile("limit|channel_max")
"""Words of RabbitMQ's text with 530 when there are too many channels or connections."""

_OBJECT = re.compile(r"<([\w.]+)[^<>]* (?:at )?0x[0-9a-f]+>")
"""How Python shows an object that has no text of its own: a name and an address."""


@contextmanager
def broker_errors(url: str, *errors: type[Exception]) -> Iterator[None]:
    """Translate what aio-pika raises, or the given errors, into ``BrokerUnreachable``.

    A lost connection may surface as a CancelledError although nobody cancelled the task. And aiormq
    may swallow a cancellation while it closes a channel. ``is_cancelled`` tells in both cases.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise unreachable(url, error) from error
    except Exception as error:
        if isinstance(error, BridgeError) or not isinstance(error, errors or _ERRORS):
            raise
        if is_cancelled():
            raise asyncio.CancelledError from error
        raise unreachable(url, error) from error
    if is_cancelled():
        raise asyncio.CancelledError


def unreachable(url: str, error: BaseException) -> BrokerUnreachable:
    """Return the error of ours for one of the libraries, in words."""
    kind = NoRoom if is_limit(error) else BrokerUnreachable
    return kind(f"{safe_url(url)}: {describe(error)}")


def is_limit(error: BaseException) -> bool:
    """Return whether there would be too many channels or connections for RabbitMQ."""
    not_allowed = isinstance(error, ConnectionNotAllowed) or (
        isinstance(error, ConnectionClosed) and error.args[:1] == (_NOT_ALLOWED,)
    )
    return not_allowed and _LIMIT.search(str(error)) is not None


def ended_for_cause(channel: aiormq.Channel) -> bool:
    """Return whether a channel's connection ended because of what one side sent to the other."""
    closing = channel.closing
    cause = closing.exception() if closing.done() and not closing.cancelled() else None
    if isinstance(cause, ConnectionClosed):
        # aiormq has a class of its own for each reply code, but not for 320, its own stop.
        return type(cause) is not ConnectionClosed
    # An answer that cannot be read ends the connection on our side. All else is the network's.
    return isinstance(cause, Exception) and not isinstance(cause, OSError | MemoryError)


def describe(error: BaseException) -> str:
    """Return an error in words; some of these have an empty text."""
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    if isinstance(error, asyncio.CancelledError):
        return "the connection was lost"
    if isinstance(error, AuthenticationError):
        return f"the broker offers {error.args[0]}: change [broker] auth, or {_ENABLE}"
    if isinstance(error, ProbableAuthenticationError) and "EXTERNAL" in str(error):
        return f"{error} {_NAMESAKE}"
    return tls.explain(error) or _words(error) or type(error).__name__


def _words(error: BaseException) -> str:
    """Return the text of an error: the broker's text if the broker gave one."""
    if isinstance(error, ConnectionClosed | ChannelClosed):
        return " ".join(str(part) for part in error.args if part)
    return _OBJECT.sub(r"\1", str(error))


def safe_url(url: str) -> str:
    """Return the URL without its password, and without its query, which is for libraries."""
    try:
        parsed = URL(url).with_query(None)
    except ValueError:
        return "a URL that cannot be used"
    return str(parsed.with_password("***") if parsed.password else parsed)
