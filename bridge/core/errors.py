"""Every error of the bridge, and whose fault each one is.

    BridgeError
    |-- Rejected              a request that is not answered 200; the reason says whose fault it is
    |   |-- SignatureInvalid      401: missing, malformed, repeated, mismatch; 429 at last
    |   `-- PayloadInvalid        authentic, but not a webhook: parked, unless nothing is signed
    |-- EndpointUnknown       a parked delivery names an endpoint that is not configured
    |-- MessageInvalid        AMQP cannot carry the message: a defect of ours
    |-- ConfigInvalid         the operator's file or environment
    |-- CertificateUnusable   a PEM file is missing, or is not what it should be
    `-- BrokerError           RabbitMQ
        |-- BrokerUnreachable     not connected, or refused to let us in
        |   `-- NoRoom                one channel or connection too many
        `-- TopologyMismatch      an exchange or queue is missing or different

The first line of a class's docstring is its message when none is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

EXIT_NO: Final = 1
EXIT_UNAVAILABLE: Final = 69  # EX_UNAVAILABLE of <sysexits.h>
EXIT_AGAIN: Final = 75  # EX_TEMPFAIL of <sysexits.h>
EXIT_CONFIG: Final = 78  # EX_CONFIG of <sysexits.h>


class BridgeError(Exception):
    """The bridge could not do what it was asked."""

    exit_code: ClassVar[int] = EXIT_NO
    """Exit code of a command that ends with this error."""

    def __str__(self) -> str:
        """Return the given message, or the first line of the class's docstring."""
        return super().__str__() or (self.__doc__ or "").strip().splitlines()[0]


class Rejected(BridgeError):
    """The request is rejected.

    ``reason`` says which answer SuperOffice gets: it is one of ``bridge.core.reasons``, or, where
    there is no spool, the value of an ``Outcome``. ``event_id`` is None while no event is known.
    ``values`` fill the places in the texts of the answer.
    """

    def __init__(self, reason: str, event_id: str | None = None, **values: float) -> None:
        super().__init__()
        self.reason = reason
        self.event_id = event_id
        self.values = values


class SignatureInvalid(Rejected):
    """The request is not signed with one of the endpoint's secrets."""


class PayloadInvalid(Rejected):
    """The body is authentic but is not a SuperOffice webhook."""


class EndpointUnknown(BridgeError):
    """The configuration has no such endpoint."""


class MessageInvalid(BridgeError):
    """AMQP 0-9-1 cannot carry this message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in the configuration.

    ``source`` is a file or an environment variable, ``key`` a dotted path; ``allowed`` says what
    would be right.
    """

    source: str
    key: str
    allowed: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.source}: {self.key}: {self.allowed}"


class ConfigInvalid(BridgeError):
    """The configuration cannot be used."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class CertificateUnusable(BridgeError):
    """A certificate or a key cannot be used; ``file`` is where it should be."""

    exit_code = EXIT_CONFIG

    def __init__(self, file: str, allowed: str) -> None:
        super().__init__(allowed)
        self.file = file


class BrokerError(BridgeError):
    """RabbitMQ did not do what it was asked."""


class BrokerUnreachable(BrokerError):
    """No connection to RabbitMQ."""

    exit_code = EXIT_UNAVAILABLE


class NoRoom(BrokerUnreachable):
    """RabbitMQ allows no further channel, or no further connection."""


class TopologyMismatch(BrokerError):
    """An exchange or queue is missing, or differs from what the configuration asks for."""
