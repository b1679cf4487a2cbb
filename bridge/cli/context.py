"""Which configuration a command works with: the file, the environment, a running ``bridge dev``."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer
from yarl import URL

from bridge.cli import output
from bridge.cli.deadline import read_in_time
from bridge.cli.errors import Unavailable
from bridge.settings import Settings, load

DEV_FILE = Path("var/dev.json")
"""File in which a running ``bridge dev`` describes itself, relative to the working directory."""

URLS = "BRIDGE_BROKER__URLS"
SECRET = "SUPEROFFICE_SECRET"  # noqa: S105 - the name of a variable

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="The configuration. Default: config/bridge.toml, if it is there.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@dataclass(frozen=True, slots=True)
class Development:
    """A running ``bridge dev``; its URLs hold credentials."""

    pid: int
    url: str
    admin_url: str
    amqp_url: str
    spool_path: str
    secret: str | None

    def environ(self) -> dict[str, str]:
        """Return the variables that make a command use it."""
        public, admin = URL(self.url), URL(self.admin_url)
        secret = {} if self.secret is None else {SECRET: self.secret}
        return {
            **broker_variables(self.amqp_url),
            **secret,
            "BRIDGE_SPOOL__PATH": self.spool_path,
            "BRIDGE_SERVER__HOST": f"{public.host}",
            "BRIDGE_SERVER__PORT": f"{public.port}",
            "BRIDGE_SERVER__ADMIN_HOST": f"{admin.host}",
            "BRIDGE_SERVER__ADMIN_PORT": f"{admin.port}",
        }


def broker_variables(url: str) -> dict[str, str]:
    """Return the variables that name a broker, its credentials included."""
    parsed = URL(url)
    return {
        URLS: url,
        "BRIDGE_BROKER__USERNAME": parsed.user or "guest",
        "BRIDGE_BROKER__PASSWORD": parsed.password or "guest",
        "BRIDGE_BROKER__AUTH": "plain",  # a URL that asks for another says so itself
    }


def load_settings(
    config: Path | None, environ: Mapping[str, str] = os.environ, *, secrets: bool = True
) -> Settings:
    """Load the settings and print warnings; raises ``ConfigInvalid``."""
    loaded = read_in_time(partial(load, config, environ, secrets=secrets))
    for warning in loaded.warnings:
        output.notice(f"warning: {warning}")
    return loaded.settings


def client_settings(config: Path | None) -> Settings:
    """Load the settings of a command that talks to a bridge or a broker.

    Unless a file is named, a running ``bridge dev`` completes the environment.
    """
    development = None if config else running_development()
    return load_settings(config, _behind(os.environ, development))


def broker_settings(config: Path | None, url: str | None, *, secrets: bool = True) -> Settings:
    """Load the settings of a command that needs a broker but no bridge, perhaps at this URL.

    The command needs no ``SUPEROFFICE_SECRET``, so a placeholder will do: nothing is signed or
    verified with it. With ``secrets=False`` no other secret or certificate has to exist either.
    """
    if url is None:
        development = None if config else running_development()
        environ = _behind(os.environ, development)
    else:
        environ = overlaid(os.environ, broker_variables(url))
    if not environ.get(SECRET) and f"{SECRET}_FILE" not in environ:
        environ = {**environ, SECRET: "not needed"}
    return load_settings(config, environ, secrets=secrets)


def running_development() -> Development | None:
    """Return the ``bridge dev`` of this directory if it runs, which its lock on the file shows."""
    try:
        with DEV_FILE.open() as file:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None  # no process holds the lock: it was killed and left its file behind
            return Development(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def announce(development: Development) -> Iterator[None]:
    """Let the commands in this directory find this ``bridge dev``, unless they have another."""
    if other := running_development():
        output.notice(f"send, listen and the others go to the bridge dev with pid {other.pid}")
        yield
        return
    with _locked_file(json.dumps(asdict(development))):
        try:
            yield
        finally:
            DEV_FILE.unlink(missing_ok=True)


def _locked_file(text: str) -> TextIO:
    """Replace ``DEV_FILE`` atomically by a locked file with this text, and return it open."""
    try:
        DEV_FILE.parent.mkdir(parents=True, exist_ok=True)
        new, path = tempfile.mkstemp(prefix=f"{DEV_FILE.name}.", dir=DEV_FILE.parent)  # mode 0600
        file = open(new, "w")  # noqa: SIM115  # the caller closes it
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(text)
        file.flush()
        os.replace(path, DEV_FILE)
    except OSError as error:
        remedy = "run the command in a directory that you may write to"
        raise Unavailable(f"cannot write {DEV_FILE}: {error.strerror}: {remedy}") from error
    return file


def overlaid(environ: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with these variables, which replace those of the same name.

    The name of a BRIDGE_ variable may be in either case.
    """
    kept = {name: value for name, value in environ.items() if name.upper() not in variables}
    return {**kept, **variables}


def is_set(environ: Mapping[str, str], variable: str) -> bool:
    """Return whether the environment has a BRIDGE_ variable, in either case, that is not empty."""
    return any(name.upper() == variable and value for name, value in environ.items())


def _behind(environ: Mapping[str, str], development: Development | None) -> Mapping[str, str]:
    """Return the environment, completed by the variables of a running ``bridge dev``.

    A broker comes whole from one place: URL, user and password belong together.
    """
    if development is None:
        return environ
    missing = {
        name: value
        for name, value in development.environ().items()
        if not is_set(environ, URLS if name.startswith("BRIDGE_BROKER__") else name)
    }
    if f"{SECRET}_FILE" in environ:
        missing.pop(SECRET, None)
    return overlaid(environ, missing)
