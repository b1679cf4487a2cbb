"""The command ``bridge``: its commands, and how they end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bridge import __version__, log
from bridge.build import build
from bridge.cli import commands, output
from bridge.cli.ending import ended_well, told
from bridge.cli.errors import EXIT_CODES, OutputClosed
from bridge.core.errors import BridgeError


class _OnDemand(Mapping[str, Any]):
    """The commands by name. A command's module is imported when somebody asks for the command.

    So ``bridge serve`` starts without what only the other commands need.
    """

    def __getitem__(self, name: str) -> Any:
        if name not in commands.NAMES:
            raise KeyError(name)
        return _load(name)

    def __iter__(self) -> Iterator[str]:
        return iter(commands.NAMES)

    def __len__(self) -> int:
        return len(commands.NAMES)


def _load(name: str) -> Any:
    """Import a command: either a function of this name or, if it has subcommands, its ``app``."""
    module = import_module(f"{commands.__name__}.{name}")
    parent = typer.Typer(add_completion=False, rich_markup_mode=app.rich_markup_mode)
    if subcommands := getattr(module, "app", None):
        parent.add_typer(subcommands, name=name)
    else:
        parent.command(name)(getattr(module, name))
    return typer.main.get_group(parent).commands[name]


class Commands(TyperGroup):
    """Turns the bridge's errors into lines on standard error and an exit code."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "commands": _OnDemand()})

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (BridgeError, OutputClosed) as error:
            raise typer.Exit(told(error)) from error


app = typer.Typer(
    name="bridge",
    cls=Commands,
    help="SuperOffice webhooks in, confirmed CloudEvents on RabbitMQ topics out.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show local variables, and so secrets
)


def _version(wanted: bool) -> None:
    if wanted:
        output.line(f"superoffice-bridge {__version__} ({build()})")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print version and build."
        ),
    ] = False,
) -> None:
    """Keep errors readable until a command says how it wants to log."""
    log.configure(level="warning", format="console")


def main() -> None:
    """Run the command of ``sys.argv``."""
    with ended_well():
        if not output.is_terminal():
            app.rich_markup_mode = None
        app()
