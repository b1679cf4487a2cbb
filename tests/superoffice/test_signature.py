"""Only SuperOffice's signature over the exact bytes opens the door."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.errors import SignatureInvalid
from bridge.superoffice.signature import sign, verify

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "samples" / "signature_vectors.json").read_text("utf-8")
)
BODY = b'{"Event":"contact.created"}'
SECRET = b"a secret"
GOOD = "T7lIjnnzM199IMfEL/FeKhAPS1/TpH5UNV0wi9t80RQ="


def reason(
    headers: list[str], *, body: bytes = BODY, secrets: tuple[bytes, ...] = (SECRET,)
) -> str:
    """Return why a request was refused."""
    with pytest.raises(SignatureInvalid) as caught:
        verify(body, headers=headers, secrets=secrets)
    return caught.value.reason


class Watched(list[bytes]):
    """Secrets that remember how many of them were looked at."""

    seen = 0

    def __iter__(self) -> Iterator[bytes]:
        """Count, then hand out."""
        for secret in super().__iter__():
            self.seen += 1
            yield secret


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
class TestVectors:
    """Signatures computed with other tools."""

    def test_sign(self, vector):
        """The same secret and bytes give the same text."""
        body = base64.b64decode(vector["body_base64"])

        assert vector["signature"] == sign(body, secret=vector["secret"].encode())

    def test_verify(self, vector):
        """The signature is accepted for these bytes, and for no others."""
        body = base64.b64decode(vector["body_base64"])
        secrets = [vector["secret"].encode()]

        verify(body, headers=[vector["signature"]], secrets=secrets)

        assert "signature_mismatch" == reason(
            [vector["signature"]], body=body + b" ", secrets=(*secrets,)
        )


@pytest.mark.parametrize("secrets", [[SECRET, b"old"], [b"old", SECRET], [SECRET, SECRET]])
def test_any_secret_may_match(secrets):
    """While a secret is being replaced, both are right."""
    verify(BODY, headers=[GOOD], secrets=secrets)


@pytest.mark.parametrize("secrets", [[SECRET, b"b", b"c"], [b"a", b"b", SECRET]])
def test_every_secret_is_tried(secrets):
    """A match does not end the search, so that the time it takes tells nothing."""
    watched = Watched(secrets)

    verify(BODY, headers=[GOOD], secrets=watched)

    assert 3 == watched.seen


def test_missing():
    """A request without the header is refused, also when there is no secret."""
    assert "signature_missing" == reason([])
    assert "signature_missing" == reason([], secrets=())


def test_repeated():
    """Two headers are refused even if both are right: which one counts is nobody's guess."""
    assert "signature_repeated" == reason([GOOD, GOOD])
    assert "signature_repeated" == reason(["", GOOD])


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD[:-1],
        GOOD + "=",
        GOOD + "\n",
        " " + GOOD,
        GOOD[:43] + "A",
        GOOD[:42] + "R=",  # decodes to the very same 32 bytes
        GOOD.replace("/", "_"),
        "sha256=" + GOOD,
        base64.b64decode(GOOD).hex(),
        "é" * 44,
        "\udcff" + GOOD[1:],
        GOOD[:10] + "\x00" + GOOD[11:],
        GOOD[:10] + "\uff13" + GOOD[11:],
        "?" * 44,
    ],
)
def test_malformed(header):
    """What is not the one spelling of 32 bytes in base64 is called malformed, and never raises."""
    assert "signature_malformed" == reason([header])


@pytest.mark.parametrize(
    ("body", "secrets"),
    [
        (BODY.replace(b"c", b"C"), (SECRET,)),
        (BODY + b"\n", (SECRET,)),
        (BODY, (b"A secret",)),
        (BODY, (SECRET + b" ", b"")),
        (BODY, ()),
    ],
)
def test_mismatch(body, secrets):
    """A well-spelled signature of other bytes or another secret is a mismatch."""
    assert "signature_mismatch" == reason([GOOD], body=body, secrets=secrets)


def test_base64_of_another_length_of_digest():
    """Base64 of less than 32 bytes is malformed even though it decodes."""
    assert "signature_malformed" == reason([base64.b64encode(b"x" * 31).decode()])
