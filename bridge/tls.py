"""TLS: contexts from PEM files, and errors with a remedy."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import NoReturn

from bridge.core.encoding import is_utf16, without_mark
from bridge.core.errors import CertificateUnusable
from bridge.reading import read

_FILES = "see [broker] ca_file, client_certificate and client_key"
_TRUST = "name the CA that signed the broker's certificate in [broker] ca_file"
_RENEW = "renew the broker's certificate, or set the clock right"
_NAME = "use a name that the broker's certificate has in [broker] urls, or get it one for this name"

_VERIFICATION = {9: _RENEW, 10: _RENEW, 62: _NAME, 64: _NAME}
"""Remedies by the numbers of OpenSSL's ``x509_vfy.h``: X509_V_ERR_CERT_NOT_YET_VALID and so on."""

_REASONS = {
    "CERTIFICATE_REQUIRED": "set [broker] client_certificate and client_key: the broker wants one",
    "HANDSHAKE_FAILURE": "set [broker] client_certificate and client_key if the broker wants one",
    "UNKNOWN_CA": "have [broker] client_certificate signed by a CA that the broker trusts",
    "CERTIFICATE": "have [broker] client_certificate renewed: the broker does not accept it",
    "WRONG_VERSION": "nobody speaks TLS there: name the broker's TLS port, or amqp://",
    "RECORD_LAYER": "nobody speaks TLS there: name the broker's TLS port, or amqp://",
}
"""Remedies by a part of OpenSSL's reason; the first that fits counts."""


class Certificate:
    """The certificate of a listener, from files that may be replaced while it runs.

    Without a ``key`` the key is in the same file. Raises ``CertificateUnusable``.
    """

    def __init__(self, certificate: Path, key: Path | None) -> None:
        self._digest = _digest(certificate, key)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        load_pair(self.context, certificate, key)

    def renew(self, certificate: Path, key: Path | None) -> bool:
        """Show new clients what is in the files now; return whether that has changed.

        Raises ``CertificateUnusable``, and then keeps the certificate that it has.
        """
        digest = _digest(certificate, key)
        if digest == self._digest:
            return False
        # Into an unused one first: a pair that does not fit would spoil the one in use.
        load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
        load_pair(self.context, certificate, key)
        self._digest = digest
        return True


def _digest(*files: Path | None) -> bytes:
    """Return a digest of the contents, so that no key stays in memory."""
    return hashlib.sha256(b"\0".join(_content(file) for file in files if file)).digest()


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Load a certificate and its key; without ``key`` it is in the same file.

    Raises ``CertificateUnusable``, which names the file at fault.
    """
    check_certificates(certificate)
    holder = key or certificate
    _content(holder)
    try:
        context.load_cert_chain(certificate, key, password=_refuse_passphrase)
    except _Encrypted:
        allowed = "a key without a passphrase (openssl pkey -in KEY -out PLAIN removes it)"
        raise CertificateUnusable(f"{holder}", allowed) from None
    except ssl.SSLError as error:
        fits = error.reason != "KEY_VALUES_MISMATCH"
        allowed = f"the private key of {certificate}; {holder} " + (
            "holds none in PEM form" if fits else "is that of another certificate"
        )
        raise CertificateUnusable(f"{holder}", allowed) from None


def check_certificates(file: Path) -> None:
    """Check that a file holds a certificate; raises ``CertificateUnusable`` if not."""
    _content(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        allowed = f"a file in PEM form with at least one certificate; {file} holds none"
        raise CertificateUnusable(f"{file}", allowed) from None


def trusting(certificate: Path) -> ssl.SSLContext:
    """Return a client's context that trusts exactly this certificate, whatever name it has."""
    context = ssl.create_default_context(cafile=certificate)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def explain(error: BaseException) -> str | None:
    """Return why TLS to the broker failed and what to do, or None if it was not TLS."""
    if isinstance(error, FileNotFoundError):  # unnamed; all were there at the start
        return f"{error.strerror}: {_FILES}"
    found = _tls_error(error)
    if found is None:
        return None
    if isinstance(found, ssl.SSLCertVerificationError):
        return f"{found.verify_message.rstrip('.')}: {_VERIFICATION.get(found.verify_code, _TRUST)}"
    reason = found.reason or ""
    remedy = next((remedy for part, remedy in _REASONS.items() if part in reason), _FILES)
    return f"TLS failed, {reason.replace('_', ' ').lower() or found}: {remedy}"


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error behind an error of a library."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__
    return error


class _Encrypted(Exception):
    """A key that wants a passphrase."""


def _refuse_passphrase() -> NoReturn:
    """Keep OpenSSL from asking for one on the terminal."""
    raise _Encrypted


def _content(file: Path) -> bytes:
    """Return the content of a file in PEM form; raises ``CertificateUnusable``."""
    try:
        content = read(file)
    except OSError as error:
        allowed = f"a file that can be read; {file}: {error.strerror}"
        raise CertificateUnusable(f"{file}", allowed) from None
    # OpenSSL finds nothing behind a byte order mark, and does not say why.
    if is_utf16(content) or content != without_mark(content):
        allowed = f"a file in PEM form, which is ASCII; save {file} again without a byte order mark"
        raise CertificateUnusable(f"{file}", allowed)
    return content
