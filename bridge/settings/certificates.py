"""Checks of the PEM files that the configuration names: do they exist, and fit together?"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge import tls
from bridge.core.errors import CertificateUnusable
from bridge.settings.model import BrokerSettings
from bridge.settings.report import Report


def check_files(tree: dict[str, Any], report: Report) -> None:
    """Report files that cannot be used. The values in ``tree`` are read, but not yet validated."""
    server, broker = (_table(tree, name) for name in ("server", "broker"))
    pair = ("server", "tls_certificate", "tls_key")
    _pair(server, *pair, report)
    report.files += [file for key in pair[1:] if (file := _file(server, key)) is not None]
    _pair(broker, "broker", "client_certificate", "client_key", report)
    authority = _file(broker, "ca_file")
    if authority is not None:
        try:
            tls.check_certificates(authority)
        except CertificateUnusable as error:
            report.add(("broker", "ca_file"), str(error))
    if broker.get("auth") == "external":
        _external(broker, report)


def unencrypted(broker: BrokerSettings) -> Iterator[str]:
    """Yield a warning if files for TLS are named, but no URL asks for TLS."""
    files = (broker.ca_file, broker.client_certificate)
    if any(files) and not any(url.scheme == "amqps" for url in broker.urls):
        yield "[broker] ca_file and client_certificate count for amqps:// only, and no URL is one"


def _table(tree: dict[str, Any], name: str) -> dict[str, Any]:
    found = tree.get(name)
    return found if isinstance(found, dict) else {}


def _file(table: dict[str, Any], key: str) -> Path | None:
    """Return the file that a key names, or None if the value is no path (the model reports it)."""
    value = table.get(key)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return None
    return Path(value)


def _pair(table: dict[str, Any], section: str, certificate: str, key: str, report: Report) -> None:
    shown, private = _file(table, certificate), _file(table, key)
    if private is not None and table.get(certificate) is None:
        report.add((section, certificate), f"required beside {key}: the certificate of the key")
    if shown is None:
        return
    try:
        tls.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), shown, private)
    except CertificateUnusable as error:
        blamed = key if private is not None and error.file == str(private) else certificate
        report.add((section, blamed), str(error))


def _external(broker: dict[str, Any], report: Report) -> None:
    if broker.get("client_certificate") is None:
        reason = 'required for auth = "external": the broker takes the user name from it'
        report.add(("broker", "client_certificate"), reason)
    urls = broker.get("urls", ["amqp://"])
    plain = (url for url in urls if isinstance(url, str)) if isinstance(urls, list) else ()
    if any(url.lower().startswith("amqp://") for url in plain):
        report.add(("broker", "urls"), 'amqps:// for auth = "external": it needs TLS')
