"""What can differ between tenants, versions and readings of the documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COUNTERS_SINCE: Final = (12, 0)
"""Version since which a webhook has its counters as members: release notes of 12.0.342."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of one tenant; durations are seconds, before the clock's speed."""

    version: tuple[int, int] = (12, 1)
    """Version of SuperOffice; see ``COUNTERS_SINCE``."""

    is_online: bool = True
    """Where it runs. Online takes Bearer and SOTicket, on-site takes Basic (api/config/webapi)."""

    require_https: bool = False
    """Whether a TargetUrl must be https. SuperOffice's default is yes, on-site it can be turned
    off (api/config/webhooks)."""

    pauses: tuple[float, ...] = (1.0, 4.0)
    """Pauses before the second and the third attempt (notification). Unproved: the page can also
    be read as if the second pause began with the first attempt."""

    failures_until_off: int = 9
    """Failed attempts in a row, of whatever events, until TooManyErrors (notification: "9
    consecutive attempts"). Where ``admin`` means nine events, this is 27."""

    threads: int = 4
    """How many requests are sent at a time; SuperOffice "scales with demand". So there is no order
    between events, not even of one record. Unproved, as is the number."""

    request_seconds: float = 30.0
    """How long an answer is waited for, in real seconds: the receiver is not sped up. Unproved."""

    refused_save_status: int = 500
    """Status of a save whose ``test`` was not answered 200. Unproved: only the body's form is
    documented."""

    token_seconds: float = 3600.0
    """Life of an access token (api/authentication/online/sign-in-user/auth-code-flow)."""

    ticket_seconds: float = 6 * 3600.0
    """Life of a SOTicket, from its last use (api/authentication/online/auth-application)."""

    timestamp_seconds: float = 600.0
    """How far the time in a signed system user token may be off, in real seconds. Unproved."""

    state_seconds: float = 300.0
    """How long a tenant's state is valid: ``ValidUntil`` (check-status). Unproved, the number."""

    @property
    def has_counters(self) -> bool:
        """Whether GET of a webhook tells its counters."""
        return self.version >= COUNTERS_SINCE
