"""RSA signatures, for a twin alone: its keys guard nothing, and its arithmetic leaks them.

The bridge does not need a library for them, and `make run` installs nothing that it does not need.
RSASSA-PKCS1-v1_5 with SHA-256: https://www.rfc-editor.org/rfc/rfc8017#section-8.2
"""

from __future__ import annotations

import hashlib
import math
import secrets
from base64 import b64encode
from dataclasses import dataclass
from typing import Final

_EXPONENT: Final = 65537
_SHA256_INFO: Final = bytes.fromhex("3031300d060960864801650304020105000420")
_SMALL_PRIMES: Final = [
    n for n in range(3, 2000, 2) if all(n % d for d in range(3, math.isqrt(n) + 1, 2))
]
_ROUNDS: Final = 8


@dataclass(frozen=True, slots=True)
class PublicKey:
    """The public half: modulus and exponent."""

    n: int
    e: int = _EXPONENT

    @property
    def size(self) -> int:
        """Bytes of a signature."""
        return (self.n.bit_length() + 7) // 8

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return whether the private half has signed the message."""
        number = int.from_bytes(signature)
        if len(signature) != self.size or number >= self.n:
            return False
        return pow(number, self.e, self.n) == int.from_bytes(_encoded(message, self.size))


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """A key pair, from two primes."""

    p: int
    q: int

    @classmethod
    def generate(cls, bits: int = 2048) -> PrivateKey:
        """Return a new pair; with 2048 bits that takes about a second."""
        p = q = _prime(bits // 2)
        while p == q:
            q = _prime(bits // 2)
        return cls(p, q)

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.p * self.q)

    @property
    def d(self) -> int:
        """The private exponent."""
        return pow(_EXPONENT, -1, math.lcm(self.p - 1, self.q - 1))

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message."""
        public = self.public
        number = int.from_bytes(_encoded(message, public.size))
        return pow(number, self.d, public.n).to_bytes(public.size)

    def as_xml(self) -> str:
        """Return the pair as the Developer Portal delivers it, as .NET writes an RSAKeyValue."""
        numbers = {
            "Modulus": self.public.n,
            "Exponent": _EXPONENT,
            "P": self.p,
            "Q": self.q,
            "DP": self.d % (self.p - 1),
            "DQ": self.d % (self.q - 1),
            "InverseQ": pow(self.q, -1, self.p),
            "D": self.d,
        }
        members = (f"<{name}>{_base64(number)}</{name}>" for name, number in numbers.items())
        return f"<RSAKeyValue>{''.join(members)}</RSAKeyValue>"


def _base64(number: int) -> str:
    return b64encode(number.to_bytes((number.bit_length() + 7) // 8)).decode()


def _encoded(message: bytes, size: int) -> bytes:
    """Return EMSA-PKCS1-v1_5 of a message."""
    hashed = _SHA256_INFO + hashlib.sha256(message).digest()
    return b"\x00\x01" + b"\xff" * (size - len(hashed) - 3) + b"\x00" + hashed


def _prime(bits: int) -> int:
    while True:
        # The two highest bits are set, so that the product of two has all its bits.
        number = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if (number - 1) % _EXPONENT and _is_prime(number):
            return number


def _is_prime(number: int) -> bool:
    """Return whether a large odd number is most likely prime (Miller and Rabin)."""
    if any(number % prime == 0 for prime in _SMALL_PRIMES):
        return False
    twos = ((number - 1) & -(number - 1)).bit_length() - 1
    odd = (number - 1) >> twos
    return all(
        _passes(number, 2 + secrets.randbelow(number - 3), odd, twos) for _ in range(_ROUNDS)
    )


def _passes(number: int, base: int, odd: int, twos: int) -> bool:
    power = pow(base, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False
