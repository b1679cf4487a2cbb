"""The command ``bridge``: its commands, and how they end."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bridge import __version__, log
from bridge.cli import output
from bridge.cli.commands import contract, parked, spool, topology
from bridge.cli.commands.check import check
from bridge.cli.commands.dev import dev
from bridge.cli.commands.health import health
from bridge.cli.commands.listen import listen
from bridge.cli.commands.send import send
from bridge.cli.commands.serve import serve
from bridge.cli.errors import EXIT_CODES, PIPE_CLOSED, OutputClosed, exit_code, lines
from bridge.cli.runtime import end_in_time
from bridge.core.errors import BridgeError


class Commands(TyperGroup):
    """Turns the bridge's errors into lines on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BridgeError as error:
            for line in lines(error):
                output.notice(f"error: {line}")
            raise typer.Exit(exit_code(error)) from error
        except OutputClosed:
            raise typer.Exit(PIPE_CLOSED) from None


app = typer.Typer(
    name="bridge",
    cls=Commands,
    help="SuperOffice webhooks in, confirmed CloudEvents on RabbitMQ topics out.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show local variables, and so secrets
)
for command in (serve, dev, check, health, send, listen):
    app.command()(command)
app.add_typer(topology.app, name="topology")
app.add_typer(parked.app, name="parked")
app.add_typer(spool.app, name="spool")
app.add_typer(contract.app, name="contract")


def _version(wanted: bool) -> None:
    if wanted:
        output.line(f"superoffice-bridge {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Keep errors readable until a command says how it wants to log."""
    log.configure(level="warning", format="console")


def main() -> None:
    """Run the command of ``sys.argv``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    if not output.is_terminal():
        app.rich_markup_mode = None
    try:
        app()
    except SystemExit as ended:
        _flush()
        end_in_time(ended.code if isinstance(ended.code, int) else 0)
        raise
    finally:
        _flush()


def _flush() -> None:
    """Flush what was printed, or drop it: the interpreter would complain of a closed pipe."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
