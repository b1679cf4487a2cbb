""".ci/audit: what it makes of each way in which the question can end."""

import json
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bridge.dev.rabbitmq import free_port

AUDIT = Path(__file__).parents[3] / ".ci" / "audit"

ADVISORY = {
    "id": "PYSEC-2026-1",
    "details": "An advisory of the tests.",
    "aliases": ["CVE-2026-1"],
    "affected": [
        {
            "package": {"name": "orjson", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}],
        }
    ],
}


def audited(url, *, seconds=30):
    """Run the audit against a database of our own; return the exit status and what it says."""
    done = subprocess.run(
        [AUDIT],
        env={"PATH": "/usr/bin:/bin", "AUDIT_URL": url, "AUDIT_SECONDS": str(seconds)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


class Database(BaseHTTPRequestHandler):
    """Answers as OSV does; ``advisories`` by the name of a package, one ``status`` for all."""

    advisories: dict[str, list[object]]
    asked: set[str]
    status: int

    def do_POST(self):  # the name that http.server asks for
        """Answer a question about one version of one package."""
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = question["package"]["name"]
        self.asked.add(name)
        found = self.advisories.get(name)
        content = json.dumps({"vulns": found} if found else {}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format, *args):
        """Say nothing."""


@contextmanager
def database(*, status=200, **advisories):
    """Run a database for the length of the block; yield its URL and what it was asked for."""
    asked: set[str] = set()
    members = {"advisories": advisories, "asked": asked, "status": status}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answers", (Database,), members))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def locked():
    """Return the names of the packages in requirements/runtime.lock."""
    lines = (AUDIT.parents[1] / "requirements/runtime.lock").read_text().splitlines()
    return {line.partition("==")[0] for line in lines if "==" in line and line[0] not in "# "}


def test_nothing_known_is_0():
    """Every package of the lock was asked for."""
    with database() as (url, asked):
        code, said = audited(url)

    assert (0, "audit: no known vulnerabilities in requirements/runtime.lock\n") == (code, said)
    # Some are for other platforms only, such as colorama for Windows.
    assert len(asked) > 25
    assert asked <= locked()


def test_a_vulnerability_is_1():
    """The package, the advisory and the version that mends it are named."""
    with database(orjson=[ADVISORY]) as (url, _):
        code, said = audited(url)

    assert 1 == code
    assert all(part in said for part in ("orjson", "PYSEC-2026-1", "99.0", "make lock"))


@pytest.mark.parametrize("how", ["nothing listens", "refused by a proxy"])
def test_a_database_that_cannot_be_reached_is_0(how):
    """One line says that nothing was audited."""
    with database(status=403) as (url, _):
        closed = f"http://127.0.0.1:{free_port()}/"
        code, said = audited(closed if how == "nothing listens" else url)

    assert (0, 1) == (code, said.count("\n"))
    assert said.startswith("audit: skipped, ")


def test_a_database_that_never_answers_is_0_within_the_limit():
    """The audit takes no longer than it is given."""
    with silent() as url:
        started = time.monotonic()
        code, said = audited(url, seconds=3)

    assert (
        0,
        "audit: skipped, no answer from the vulnerability database (limit: 3 s)\n",
    ) == (code, said)
    assert time.monotonic() - started < 10


@contextmanager
def silent():
    """Accept connections, and say nothing, for the length of the block; yield the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        yield f"http://127.0.0.1:{server.server_port}/"
