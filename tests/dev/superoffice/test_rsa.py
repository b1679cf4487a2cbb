"""The twin's RSA against a library's."""

import re
from base64 import b64decode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from bridge.dev.superoffice.rsa import PrivateKey, PublicKey

MESSAGE = b"Bridge-0123456789.202612181030"


def test_the_library_verifies(signing_key):
    """A signature is right for others, and wrong for another message."""
    public = rsa.RSAPublicNumbers(65537, signing_key.public.n).public_key()
    signature = signing_key.sign(MESSAGE)

    public.verify(signature, MESSAGE, padding.PKCS1v15(), SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(signature, b"another", padding.PKCS1v15(), SHA256())


def test_a_signature_of_the_library():
    """A library's signature is accepted, a changed, cut or foreign one is not."""
    key = rsa.generate_private_key(65537, 2048)
    public = PublicKey(key.public_key().public_numbers().n)
    signature = key.sign(MESSAGE, padding.PKCS1v15(), SHA256())
    changed = bytes([signature[0], signature[1] ^ 1]) + signature[2:]
    foreign = rsa.generate_private_key(65537, 2048).sign(MESSAGE, padding.PKCS1v15(), SHA256())

    assert public.verifies(signature, MESSAGE)
    assert not public.verifies(signature, MESSAGE + b".")
    assert [False] * 4 == [
        public.verifies(one, MESSAGE) for one in (changed, foreign, signature[1:], b"")
    ]
    assert not public.verifies(b"\xff" * 256, MESSAGE)


def test_xml(signing_key):
    """The key comes as .NET writes it, and a library can load its numbers."""
    xml = signing_key.as_xml()
    found = re.findall(r"<(\w+)>([^<]+)</\1>", xml)
    numbers = {name: int.from_bytes(b64decode(text)) for name, text in found}

    assert ["Modulus", "Exponent", "P", "Q", "DP", "DQ", "InverseQ", "D"] == [*numbers]
    public = rsa.RSAPublicNumbers(numbers["Exponent"], numbers["Modulus"])
    loaded = rsa.RSAPrivateNumbers(
        numbers["P"],
        numbers["Q"],
        numbers["D"],
        numbers["DP"],
        numbers["DQ"],
        numbers["InverseQ"],
        public,
    ).private_key()
    signature = loaded.sign(MESSAGE, padding.PKCS1v15(), SHA256())
    assert signing_key.sign(MESSAGE) == signature


def test_keys_are_new():
    """Two keys differ, and have all their bits."""
    first, second = PrivateKey.generate(512), PrivateKey.generate(512)

    assert first != second
    assert [512, 512] == [key.public.n.bit_length() for key in (first, second)]
