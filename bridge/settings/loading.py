"""Loading the settings from file and environment, or reporting all mistakes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretBytes, ValidationError

from bridge.core.errors import ConfigInvalid
from bridge.settings.certificates import check_files, unencrypted
from bridge.settings.checks import check_together
from bridge.settings.model import QueueSettings, RouteSettings, Settings
from bridge.settings.report import Report
from bridge.settings.secrets import Resolver
from bridge.settings.sources import read_environment, read_file

DEFAULT_PATH = Path("config/bridge.toml")
"""The file that is read if none is named and this exists, relative to the working directory."""

_SECRET = "SUPEROFFICE_SECRET"  # noqa: S105 - the name of a variable
_SECRET_FILE = "SUPEROFFICE_SECRET_FILE"  # noqa: S105
_BROKER_PASSWORD = "BROKER_PASSWORD"  # noqa: S105
_EITHER = (
    f"either {_SECRET}, set to the secret of the webhook, or {_SECRET_FILE}, set to the path of a"
    " file that holds it; exactly one of them, or [[endpoints]]"
)

_STAND_IN = SecretBytes(b"elsewhere")
"""Placeholder for a secret that is only on another machine."""

_Item = TypeVar("_Item", RouteSettings, QueueSettings)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration, and warnings about what is probably a mistake in it.

    ``files`` are the files that were read, and those that were looked for but do not exist.
    """

    settings: Settings
    warnings: tuple[str, ...]
    files: tuple[Path, ...] = field(default=(), compare=False)


def load(path: Path | None, environ: Mapping[str, str], *, secrets: bool = True) -> Loaded:
    """Read the file, override its values from the environment, and resolve the secrets.

    Without a path the file is ``config/bridge.toml`` if that exists; otherwise there are only the
    defaults. Raises ConfigInvalid with all problems of file, environment and secrets at once.

    With ``secrets=False`` the secrets and certificates may be on another machine. Certificates are
    not checked then, and a placeholder, which opens nothing, stands for an absent secret.
    """
    report = Report(str(path or DEFAULT_PATH))
    written = read_file(path or DEFAULT_PATH, report, optional=path is None)
    tree = _merge(written or {}, read_environment(environ, report))
    if written is not None:  # else it is unknown which keys the file sets
        _add_well_known(tree, environ, report)
    check_together(tree, report)
    if secrets:
        check_files(tree, report)
    Resolver(environ, report, stand_in=None if secrets else _STAND_IN).resolve(tree)
    settings = _validate(tree, report)
    if settings is None or report.problems:
        raise ConfigInvalid(sorted(report.problems, key=attrgetter("source", "key")))
    warnings = (*report.warnings, *unencrypted(settings.broker))
    return Loaded(settings, warnings, tuple(report.files))


def _merge(written: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
    """Override the file's values key by key; lists and references to secrets as a whole."""
    merged = written | variables
    for section, keys in variables.items():
        if isinstance(keys, dict) and section in written:
            below = written[section]
            merged[section] = below | keys if isinstance(below, dict) else below
    return merged


def _add_well_known(tree: dict[str, Any], environ: Mapping[str, str], report: Report) -> None:
    """Fill keys that are not set from the variables without the prefix ``BRIDGE_``."""
    if tree.get("endpoints", []) == []:
        _add_endpoint(tree, environ, report)
    broker = tree.setdefault("broker", {})
    if isinstance(broker, dict) and "password" not in broker and _BROKER_PASSWORD in environ:
        broker["password"] = {"env": _BROKER_PASSWORD}
        report.set_by(("broker", "password"), _BROKER_PASSWORD)


def _add_endpoint(tree: dict[str, Any], environ: Mapping[str, str], report: Report) -> None:
    given = [name for name in (_SECRET, _SECRET_FILE) if name in environ]
    if len(given) != 1:
        report.add(("endpoints", 0, "secrets"), _EITHER, source=_SECRET)
        return
    reference = {"env": _SECRET} if given == [_SECRET] else {"file": environ[_SECRET_FILE]}
    tree["endpoints"] = [{"name": "superoffice", "path": "/webhook", "secrets": [reference]}]
    report.set_by(("endpoints",), given[0])


def _validate(tree: dict[str, Any], report: Report) -> Settings | None:
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        report.add_errors(error)
        return None
    exchange = settings.broker.exchange
    routes = tuple(_with_exchange(route, exchange) for route in settings.routes)
    queues = tuple(_with_exchange(queue, exchange) for queue in settings.queues)
    return settings.model_copy(update={"routes": routes, "queues": queues})


def _with_exchange(item: _Item, exchange: str) -> _Item:
    """Return the route or queue with the broker's exchange if it names none itself."""
    if "exchange" in item.model_fields_set:
        return item
    return item.model_copy(update={"exchange": exchange})
