"""What of a new configuration a running bridge takes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.settings import Settings, adopted, differences
from tests.settings.support import settings_of, table

ENVIRON = {"SUPEROFFICE_SECRET": "s3cret", "OTHER": "other"}
OTHER = '[{ env = "OTHER" }]'


def made(path: Path, *tables: str) -> Settings:
    """Return the settings of a configuration with an endpoint, unless it names its own."""
    text = "".join(tables)
    path.write_text(text if "[[endpoints]]" in text else text + table("endpoints"))
    return settings_of(path, ENVIRON)


@pytest.mark.parametrize(
    ("tables", "changed", "waiting"),
    [
        ([], [], []),
        ([table("endpoints", secrets=OTHER)], ["endpoints[0].secrets"], []),
        ([table("endpoints", contexts='["Cust1"]')], ["endpoints[0].contexts"], []),
        ([table("log", level='"debug"')], ["log.level"], []),
        ([table("log", format='"console"')], [], ["log.format"]),
        ([table("server", port="1")], [], ["server.port"]),
        ([table("queues")], [], ["queues"]),
        ([table("endpoints"), table("endpoints", name='"x"', path='"/x"', source='"/x"')],
         [], ["endpoints"]),
        ([table("endpoints", path='"/new"', secrets=OTHER)],
         ["endpoints[0].secrets"], ["endpoints[0].path"]),
        ([table("endpoints", name='"new"', secrets=OTHER)],
         [], ["endpoints[0].name", "endpoints[0].secrets"]),
        ([table("endpoints", allow_unsigned="true", secrets="[]")],
         [], ["endpoints[0].secrets", "endpoints[0].allow_unsigned"]),
    ],
)  # fmt: skip
def test_what_changes_and_what_waits(
    tmp_path: Path, tables: list[str], changed: list[str], waiting: list[str]
) -> None:
    """Keys are named, never values; what waits stays as it was."""
    path = tmp_path / "bridge.toml"
    old = made(path)
    new = made(path, *tables)
    taken = adopted(old, new)

    assert (changed, waiting) == (differences(old, taken), differences(taken, new))
