"""Whoever does not know the secret gets nowhere, whatever they send."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.errors import SignatureInvalid
from bridge.superoffice.signature import sign, verify
from tests.strategies.webhooks import header_values

SECRETS = st.text(min_size=1, max_size=20).map(str.encode) | st.binary(min_size=1, max_size=200)
BODIES = st.binary(max_size=300)


def refusal(body: bytes, headers: list[str], secrets: list[bytes]) -> str:
    """Return why a request is refused."""
    with pytest.raises(SignatureInvalid) as caught:
        verify(body, headers=headers, secrets=secrets)
    return caught.value.reason


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Return texts like signatures: 32 bytes in base64, or nearly so."""
    text = base64.b64encode(draw(st.binary(min_size=32, max_size=32))).decode()
    return text + draw(st.sampled_from(("", "", " ", "=", "\n")))


@given(BODIES, st.lists(header_values() | signatures(), max_size=3), st.lists(SECRETS, max_size=3))
def test_a_guess_is_refused_with_a_reason(body, headers, secrets):
    """Any headers and any secrets, none included: it is one of our four refusals."""
    reason = refusal(body, headers, secrets)

    assert ("signature_missing" if not headers else "signature_repeated") == reason or 1 == len(
        headers
    )
    assert reason in {
        "signature_missing",
        "signature_repeated",
        "signature_malformed",
        "signature_mismatch",
    }


@given(BODIES, st.lists(SECRETS, min_size=1, max_size=4), st.data())
def test_the_signature_of_any_secret_passes(body, secrets, data):
    """Any one of the secrets will do, and the signature is plain HMAC-SHA256 in base64."""
    secret = data.draw(st.sampled_from(secrets))
    signature = base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()

    assert signature == sign(body, secret=secret)
    verify(body, headers=[signature], secrets=secrets)


@given(BODIES.filter(len), SECRETS, st.data())
def test_any_other_body_is_refused(body, secret, data):
    """One byte that is changed, added or missing is enough."""
    at = data.draw(st.integers(0, len(body) - 1))
    changed = bytes([body[at] ^ data.draw(st.integers(1, 255))])
    headers = [sign(body, secret=secret)]
    others = (body[:at] + changed + body[at + 1 :], body[:at] + body[at + 1 :], body + changed)

    assert ["signature_mismatch"] * 3 == [refusal(other, headers, [secret]) for other in others]


@given(BODIES, SECRETS, st.data())
def test_any_other_spelling_of_the_signature_is_refused(body, secret, data):
    """Not another character, not one more or less, and not twice the right one."""
    right = sign(body, secret=secret)
    at = data.draw(st.integers(0, len(right) - 1))
    instead = data.draw(st.sampled_from("AQz/+-_= \n\0é\udc80") | st.characters() | st.just(""))
    wrong = right[:at] + instead + right[at + (len(instead) or 1) :]
    longer = right[:at] + (instead or "=") + right[at:]

    padded = {f"{right} ", f" {right}", f"{right}\n", f"{right}=", f"{right},{right}"}
    for other in {wrong, longer, right.swapcase(), right.rstrip("="), *padded} - {right}:
        assert refusal(body, [other], [secret]) in {"signature_malformed", "signature_mismatch"}
    assert "signature_repeated" == refusal(body, [right, right], [secret])


@given(BODIES, SECRETS)
def test_a_body_is_not_signed_by_nobody(body, secret):
    """Without secrets even a right signature opens nothing."""
    assert "signature_mismatch" == refusal(body, [sign(body, secret=secret)], [])
