"""``bridge contract``: the machine-readable contract of this configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli import output
from bridge.cli.context import ConfigOption, broker_settings
from bridge.contract.names import DOCUMENTS, schema_of
from bridge.contract.rendering import render

app = typer.Typer(
    no_args_is_help=True,
    help="What consumers and senders can rely on, for programs. Secrets need not be there.",
)


@app.command()
def jsonschema(
    entity: Annotated[
        str,
        typer.Argument(
            metavar="[ENTITY]",
            help="The entity whose data it describes, such as contact, y_rental or list.category,"
            " or the name of a file. Default: the whole message, whatever its entity.",
            show_default=False,
        ),
    ] = "",
    config: ConfigOption = None,
) -> None:
    """Print the JSON Schema of messages, or of the data of an entity."""
    _print(f"schemas/{_schema(entity) if entity else 'envelope'}.json", config)


def _schema(entity: str) -> str:
    """Return the name of an entity's schema; print a notice if SuperOffice has no such entity."""
    if f"schemas/{entity}.json" in DOCUMENTS:
        return entity
    name = schema_of(entity)
    if name == "any":
        output.notice(f"{entity!r} is no entity of SuperOffice: this is the schema of any event")
    return name


def _printing(name: str) -> Callable[[Path | None], None]:
    def command(config: ConfigOption = None) -> None:
        _print(name, config)

    return command


for _name in DOCUMENTS:
    if not _name.startswith("schemas/"):
        _help = f"Print {_name} for this configuration."
        app.command(_name.removesuffix(".json"), help=_help)(_printing(_name))


def _print(name: str, config: Path | None) -> None:
    settings = broker_settings(config, None, secrets=False)
    output.line(render(name, settings).decode().removesuffix("\n"))
