"""What can be wrong with a spool."""

from bridge.core.errors import EXIT_AGAIN, EXIT_CONFIG, BridgeError


class SpoolFull(BridgeError):
    """The spool is at max_bytes, or its disk is full."""


class SpoolLocked(BridgeError):
    """Another process uses this spool."""

    exit_code = EXIT_AGAIN


class SpoolDamaged(BridgeError):
    """The open spool is damaged; the next start salvages it."""

    exit_code = EXIT_AGAIN


class SpoolUnusable(BridgeError):
    """The spool cannot be opened or made at its path."""

    exit_code = EXIT_CONFIG


class SpoolHung(BridgeError):
    """The disk does not answer."""

    exit_code = EXIT_AGAIN


class SpoolUnavailable(BridgeError):
    """The disk does not let the spool be opened now; it may do so later."""

    exit_code = EXIT_AGAIN
