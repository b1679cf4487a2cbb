"""Who may speak: the signature of a webhook.

SuperOffice sends ``base64(HMAC-SHA256(key, body))`` in one header. The key is the secret exactly
as it was registered, in UTF-8: never trimmed, never base64-decoded. The message is the body's
bytes as they were on the wire, so this comes before anything that decodes or parses them.

https://docs.superoffice.com/en/automation/webhook/dev/security.html
"""

from __future__ import annotations

import hmac
import re
from base64 import b64encode
from collections.abc import Sequence
from typing import Final

from bridge.core.errors import SignatureInvalid

HEADER: Final = "X-SuperOffice-Signature"
"""The header that carries the signature; HTTP does not mind its case."""

# 32 bytes have one canonical spelling: 43 characters, of which the last carries four bits, and "=".
_SPELLING = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")


def sign(body: bytes, *, secret: bytes) -> str:
    """Return the signature that SuperOffice would send with these bytes."""
    return _signature(body, secret).decode("ascii")


def verify(body: bytes, *, headers: Sequence[str], secrets: Sequence[bytes]) -> None:
    """Accept ``body`` if one of ``secrets`` signed it, else raise SignatureInvalid.

    ``headers`` are all values of ``HEADER`` in the request. The text is compared, not what it
    decodes to, so that exactly one spelling of a signature is right.
    """
    given = _only(headers)
    # A character outside ASCII becomes "?", which no signature contains.
    sent = given.encode("ascii", "replace")
    # Every secret is tried: the time taken tells nobody which one is in use.
    matches = [hmac.compare_digest(sent, _signature(body, secret)) for secret in secrets]
    if not sum(matches):
        raise SignatureInvalid("mismatch" if _SPELLING.fullmatch(given) else "malformed")


def _signature(body: bytes, secret: bytes) -> bytes:
    return b64encode(hmac.digest(secret, body, "sha256"))


def _only(headers: Sequence[str]) -> str:
    if not headers:
        raise SignatureInvalid("missing")
    if len(headers) > 1:
        raise SignatureInvalid("repeated")
    return headers[0]
