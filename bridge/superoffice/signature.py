"""The signature of a webhook: only requests that SuperOffice has signed are believed.

SuperOffice sends ``base64(HMAC-SHA256(key, body))`` in the header ``headers.SIGNATURE``. The key is
the secret exactly as it was registered, in UTF-8: never trimmed, never base64-decoded. The message
is the body's bytes as they were on the wire, so it is checked before anything decodes or parses
them.

https://docs.superoffice.com/en/automation/webhook/dev/security.html
"""

from __future__ import annotations

import hmac
import re
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache

from bridge.core.errors import SignatureInvalid
from bridge.core.reasons import RejectReason

# 32 bytes have one canonical spelling: 43 characters, of which the last carries four bits, and "=".
_SPELLING = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


def sign(body: bytes, *, secret: bytes) -> str:
    """Return the signature that SuperOffice would send with these bytes."""
    return _signature(body, secret).decode("ascii")


def verify(body: bytes, *, headers: Sequence[str], secrets: Sequence[bytes]) -> None:
    """Accept ``body`` if one of ``secrets`` signed it, else raise SignatureInvalid.

    ``headers`` are all values of the signature's header. The text is compared, not what it decodes
    to, so that exactly one spelling of a signature is right.
    """
    given = _only(headers)
    # A character outside ASCII becomes "?", which no signature contains.
    sent = given.encode("ascii", "replace")
    # Every secret is tried, so that the time taken does not tell which one is in use.
    matches = [hmac.compare_digest(sent, _signature(body, secret)) for secret in secrets]
    if not sum(matches):
        raise SignatureInvalid(_reason(given))


def _reason(given: str) -> RejectReason:
    if _SPELLING.fullmatch(given):
        return RejectReason.SIGNATURE_MISMATCH
    return RejectReason.SIGNATURE_MALFORMED


def _signature(body: bytes, secret: bytes) -> bytes:
    state = _keyed(secret).copy()
    state.update(body)
    return b2a_base64(state.digest(), newline=False)


@lru_cache(maxsize=256)
def _keyed(secret: bytes) -> hmac.HMAC:
    """Return HMAC's state after the key, which is the same for every body."""
    return hmac.new(secret, digestmod="sha256")


def _only(headers: Sequence[str]) -> str:
    if not headers:
        raise SignatureInvalid(RejectReason.SIGNATURE_MISSING)
    if len(headers) > 1:
        raise SignatureInvalid(RejectReason.SIGNATURE_REPEATED)
    return headers[0]
