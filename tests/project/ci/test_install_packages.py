""".ci/install-packages: no service of what it installs is left running, or started at a boot."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci" / "install-packages"


def units(package):
    """Return the units of a package that could be started, none if it is not installed."""
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=False)
    paths = map(Path, listed.stdout.splitlines())
    return {
        path.name
        for path in paths
        if path.parent.match("systemd/system") and path.suffix in (".service", ".socket")
    }


@pytest.mark.parametrize("package", ["rabbitmq-server", "erlang-base", "haproxy", "nginx-common"])
def test_every_service_is_known(package):
    """What .ci/bootstrap brings, by itself or with what it depends on, has all its units named."""
    found = {unit for unit in units(package) if "@" not in unit}
    if not found:
        pytest.skip(f"{package} is not installed")

    [services] = (line for line in SCRIPT.read_text().splitlines() if line.startswith("services='"))
    assert found <= set(services.removeprefix("services='").rstrip("'").split())
