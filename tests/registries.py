"""How this machine reaches a package index, for what runs in a root file system of its own."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""The authorities that this machine trusts, where Debian keeps them."""


def write_pip_configuration(path: Path) -> None:
    """Gather pip's configuration of this machine in one file.

    Directories of wheels are left out: they are not seen from inside.
    """
    parser = configparser.RawConfigParser()
    parser.read(["/etc/pip.conf", Path.home() / ".config/pip/pip.conf"])
    for section in set(parser.sections()) - {"global"}:
        parser.remove_section(section)
    if not parser.has_section("global"):
        parser.add_section("global")
    for name, value in os.environ.items():
        if name.startswith("PIP_") and name not in {"PIP_FIND_LINKS", "PIP_CONFIG_FILE"}:
            parser.set("global", name[4:].lower().replace("_", "-"), value)
    with path.open("w") as file:
        parser.write(file)
