"""Without tracing everything is as if there were none, OpenTelemetry installed or not."""

import subprocess
import sys
import time

from bridge.delivery.dedup import Dedup
from bridge.dev.rabbitmq import free_port
from bridge.metrics import Metrics
from bridge.parts import pipeline_of
from bridge.pipeline import Pipeline
from bridge.settings import load

RUN = """
import asyncio, sys
from pathlib import Path
from bridge.lifecycle import running
from bridge.settings import load

async def run():
    environ = {
        "SUPEROFFICE_SECRET": "s3cret",
        "BRIDGE_BROKER__URLS": f"amqp://127.0.0.1:{sys.argv[1]}/",
        "BRIDGE_SERVER__PORT": "0",
        "BRIDGE_SERVER__ADMIN_PORT": "0",
        "BRIDGE_SPOOL__PATH": sys.argv[2],
    }
    async with running(load(None, environ).settings):
        pass

asyncio.run(run())
print([name for name in sys.modules if name.startswith(("opentelemetry", "bridge.tracing"))])
"""

CHECK = """
import sys
sys.modules["opentelemetry"] = None  # which is how Python says that there is none
from bridge.cli.app import main
sys.argv = ["bridge", "check"]
main()
"""


def python(code, *args, **options):
    """Run a program, with the working directory and the environment given."""
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_off_imports_nothing(tmp_path):
    """A service that started and stopped has no module of OpenTelemetry, nor ours."""
    done = python(RUN, free_port(), tmp_path / "spool.db", cwd=tmp_path)

    assert (0, ["[]"]) == (done.returncode, done.stdout.splitlines()[-1:]), done.stderr


def test_off_is_the_usual_pipeline():
    """The class is the plain one, not one that traces nothing."""
    settings = load(None, {"SUPEROFFICE_SECRET": "s3cret"}).settings
    dedup = Dedup(window=0, max_events=0, clock=time.monotonic)

    class Nobody:
        def deliver(self, message, settled):
            raise AssertionError

    assert type(pipeline_of(settings, Nobody(), dedup, Metrics())) is Pipeline


def test_without_the_extra(tmp_path):
    """Switched on, the configuration is wrong, and says what to install; off, it is right."""
    environ = {"SUPEROFFICE_SECRET": "s3cret"}
    off = python(CHECK, cwd=tmp_path, env=environ)
    on = python(CHECK, cwd=tmp_path, env=environ | {"BRIDGE_TRACING__ENABLED": "true"})

    assert (0, "") == (off.returncode, off.stderr)
    assert 78 == on.returncode
    assert "BRIDGE_TRACING__ENABLED: tracing.enabled: " in on.stderr
    assert "pip install --require-hashes -r requirements/otel.lock" in on.stderr
    assert "LOCK=requirements/otel.lock" in on.stderr
