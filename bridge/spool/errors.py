"""What can be wrong with a spool."""

from bridge.core.errors import BridgeError


class SpoolFull(BridgeError):
    """The spool is at max_bytes, or its disk is full."""


class SpoolLocked(BridgeError):
    """Another process uses this spool."""


class SpoolDamaged(BridgeError):
    """Damage was met in the open spool; the next start salvages it."""


class SpoolUnusable(BridgeError):
    """The spool cannot be opened or made at its path."""


class SpoolHung(BridgeError):
    """The disk does not answer."""


class SpoolUnavailable(BridgeError):
    """The disk does not let the spool be opened now; it may do so later."""
