"""How a command fails, and what it tells the shell."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.broker.topology import Mismatch
from bridge.core.errors import (
    BridgeError,
    BrokerUnreachable,
    CertificateUnusable,
    ConfigInvalid,
    TopologyMismatch,
)
from bridge.dev.rabbitmq import RabbitMQFailed, RabbitMQNotInstalled
from bridge.spool import SpoolDamaged, SpoolHung, SpoolLocked, SpoolUnavailable, SpoolUnusable

NO = 1
UNAVAILABLE = 69  # EX_UNAVAILABLE of <sysexits.h>
AGAIN = 75  # EX_TEMPFAIL of <sysexits.h>
CONFIG = 78  # EX_CONFIG of <sysexits.h>
PIPE_CLOSED = 141  # what a shell reports of a program that SIGPIPE ended

EXIT_CODES = (
    "Exit codes: 0 fine; 1 the answer is no, or something did not arrive; 2 wrong usage;"
    " 69 broker, bridge or port not available; 75 another process has the spool, its disk is in"
    " trouble, or it is damaged or gone and the next start goes on with what can be read, or a"
    " file of the configuration does not answer;"
    " 78 the configuration is wrong."
)

BROKER_REMEDY = (
    "see that RabbitMQ runs there and lets this user in, or name another in [broker] urls or"
    " BRIDGE_BROKER__URLS (`make run` starts a private one)"
)


class CommandFailed(BridgeError):
    """The answer is no."""


class Unavailable(BridgeError):
    """Something that the command needs is not there."""


class Unread(BridgeError):
    """A file of the configuration does not come from its disk, or its pipe."""


class OutputClosed(Exception):
    """Nobody reads our standard output any more.

    Not an OSError: those are taken for errors of the broker's connection.
    """


def exit_code(error: BridgeError) -> int:
    """Return the exit code of a command that failed with this error."""
    match error:
        case ConfigInvalid() | CertificateUnusable() | SpoolUnusable():
            return CONFIG
        case SpoolLocked() | SpoolDamaged() | SpoolHung() | SpoolUnavailable() | Unread():
            return AGAIN
        case BrokerUnreachable() | Unavailable() | RabbitMQNotInstalled() | RabbitMQFailed():
            return UNAVAILABLE
        case _:
            return NO


def lines(error: BridgeError) -> list[str]:
    """Return the error as lines for people: each problem of a configuration is one."""
    match error:
        case ConfigInvalid():
            return [str(problem) for problem in error.problems]
        case BrokerUnreachable():
            return [f"RabbitMQ cannot be reached: {error}: {BROKER_REMEDY}"]
        case _:
            return str(error).splitlines()


def mismatched(mismatches: Sequence[Mismatch]) -> TopologyMismatch:
    """Build the error for what is missing or different, one line for each and the remedy."""
    remedy = (
        "`bridge topology apply` declares what is missing; what is different has to be deleted in"
        " RabbitMQ first, or the configuration adapted to it"
    )
    return TopologyMismatch("\n".join([*map(str, mismatches), remedy]))
