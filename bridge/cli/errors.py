"""How a command fails: its own errors, the words for people, and what the exit codes mean."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.broker.topology import Mismatch
from bridge.core.errors import (
    EXIT_AGAIN,
    EXIT_UNAVAILABLE,
    BridgeError,
    BrokerUnreachable,
    ConfigInvalid,
    TopologyMismatch,
)

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

    exit_code = EXIT_UNAVAILABLE


class Unread(BridgeError):
    """A file of the configuration does not come from its disk, or its pipe."""

    exit_code = EXIT_AGAIN


class OutputClosed(Exception):
    """The reader of our standard output has closed the pipe.

    This is no OSError: ``broker_errors`` would take one for an error of the broker's connection.
    """


def lines(error: BridgeError) -> list[str]:
    """Return the error as lines for people; each problem of a configuration has its own line."""
    match error:
        case ConfigInvalid():
            return [str(problem) for problem in error.problems]
        case BrokerUnreachable():
            return [f"RabbitMQ cannot be reached: {error}: {BROKER_REMEDY}"]
        case _:
            return str(error).splitlines()


def mismatched(mismatches: Sequence[Mismatch]) -> TopologyMismatch:
    """Build the error for objects that are missing or different: a line for each, and a remedy."""
    remedy = (
        "`bridge topology apply` declares what is missing; what is different has to be deleted in"
        " RabbitMQ first, or the configuration adapted to it"
    )
    return TopologyMismatch("\n".join([*map(str, mismatches), remedy]))
