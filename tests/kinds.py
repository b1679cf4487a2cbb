"""The three kinds of tests: ``make test ARGS='-m unit'`` runs one kind.

- *unit*: pure, or all in this process: 3,000 tests, most of them instant, in a minute.
- *integration*: with a real RabbitMQ or another process, or too long to wait for while one edits.
- *system*: whole processes under faults, under load or at scale, and what the project ships.

A test gets the mark of its kind here, by where it is and by the fixtures that it uses. So a new
test needs no mark, unless it starts a process by itself: then it fails, and says what to do. In a
unit test a thread does what the process that writes to the spool does.
"""

from __future__ import annotations

import subprocess
from typing import Any, NoReturn

import pytest

from bridge.spool import process
from tests.writing import WritingThread

FIXTURES = frozenset(
    {"node", "broker", "tls_node", "bridges", "serving", "service", "killed", "freezable"}
)
"""Fixtures that start a RabbitMQ, a whole service, or another process."""

PROCESSES = (
    "tests/cli/test_app.py::test_commands_for_operators",
    "tests/cli/test_app.py::test_output_that_nobody_reads",
    "tests/cli/test_dev.py",
    "tests/cli/test_health.py",
    "tests/cli/test_runtime.py",
    "tests/cli/test_send_direct.py",
    "tests/cli/test_serve.py",
    "tests/dev/superoffice/test_program.py",
    "tests/dev/test_deprecated.py",
    "tests/dev/test_supervisor.py",
    "tests/dev/test_start.py",
    "tests/project/ci/",
    "tests/spool/test_process.py",
    "tests/spool/test_salvage.py::test_killed",
    "tests/spool/test_watch.py",
    "tests/test_imports.py::test_nothing_happens_at_import",
    "tests/test_imports.py::test_a_start_loads_only_what_it_needs",
    "tests/test_imports.py::test_what_was_left_out",
    "tests/tracing/test_tracing_off.py",
    "tests/web/test_documents.py::test_the_generator_is_loaded",
    "tests/web/test_sockets.py::test_connections_that_there_are_descriptors_for",
    "tests/web/test_tls.py::test_a_restart_refuses_nobody",
)
"""Beginnings of the names of tests that start processes by themselves."""

LONG = (
    "tests/delivery/held/test_holding.py::test_thousands_of_sick_places",
    "tests/delivery/test_model.py",
    "tests/delivery/held/test_places.py",
    "tests/superoffice/test_linear.py",
)
"""The same for tests that play thousands of histories, or measure time and memory."""


def kind_of(item: pytest.Item) -> str:
    """Return the kind of a test."""
    if item.nodeid.startswith("tests/system/"):
        return "system"
    if item.nodeid.startswith(PROCESSES + LONG):
        return "integration"
    return "integration" if FIXTURES.intersection(getattr(item, "fixturenames", ())) else "unit"


@pytest.fixture(autouse=True)
def unit_tests_start_no_process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail a unit test that starts a process: it is an integration test."""

    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("no process in a unit test: name it in PROCESSES of tests/kinds.py")

    if request.node.get_closest_marker("unit"):
        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(process, "start", WritingThread)
