"""A CA of the tests, and the files of its certificates."""

from __future__ import annotations

import itertools
import ssl
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import trustme


class Pair(NamedTuple):
    """The files of a certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """Issues certificates into a directory; ``file`` holds its own."""

    def __init__(self, directory: Path) -> None:
        self._ca = trustme.CA()
        self._directory = directory
        self._count = itertools.count()
        self.file = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self, identity: str, *, name: str | None = None, expires: datetime | None = None
    ) -> Pair:
        """Issue a certificate for a host or an address; ``name`` is its common name."""
        issued = self._ca.issue_cert(identity, common_name=name, not_after=expires)
        stem = f"{name or identity}-{next(self._count)}"
        pair = Pair(self._directory / f"{stem}.crt", self._directory / f"{stem}.key")
        issued.cert_chain_pems[0].write_to_path(str(pair.certificate))
        issued.private_key_pem.write_to_path(str(pair.key))
        return pair

    def client(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this CA and no other."""
        return ssl.create_default_context(cafile=self.file)
