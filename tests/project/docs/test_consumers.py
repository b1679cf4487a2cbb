"""docs/consumers: its page names every consumer, says which are run, and locks are clean."""

from __future__ import annotations

import re

import pytest

from bridge.core.message import cloudevent
from bridge.dev.samples import encode, sample
from bridge.superoffice.normalize import normalize
from bridge.superoffice.payload import parse
from tests.project.docs.documents import table
from tests.project.docs.events import delivery
from tests.system.consumers.programs import NOT_RUN, PROGRAMS, SOURCES

PAGE = "consumers/README.md"
FOLDERS = sorted(path for path in SOURCES.iterdir() if path.is_dir())
LOCKS = [
    *SOURCES.glob("*/requirements.lock"),
    *SOURCES.glob("*/package-lock.json"),
    *SOURCES.glob("*/go.sum"),
]


def test_the_page_says_which_consumers_are_run() -> None:
    """Each folder has a row; the last column says no for those that no machine of ours can run."""
    rows = table(PAGE, "The consumers")
    said = {row["Folder"].split("]")[0].strip("["): row["Run by the tests"] for row in rows}

    assert {folder.name for folder in FOLDERS} == set(said)
    assert set(NOT_RUN) == {name for name, run in said.items() if run.startswith("**no**")}
    assert {program.name for program in PROGRAMS} == set(said) - set(NOT_RUN)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_consumer_says_which_contract_it_relies_on(folder) -> None:
    """It compares with the dataschema of the very event that it is for."""
    came = delivery(encode(sample("contact.deleted")))
    event, _ = normalize(parse(came.body), delivery=came)
    [schema] = re.findall(rb'"dataschema":"([^"]+)"', cloudevent(event, source="/x"))
    sources = [path for path in folder.iterdir() if path.stem.lower() == "consumer"]
    texts = [path.read_text("utf-8") for path in sources if path.suffix != ".csproj"]

    assert [True] == [f'"{schema.decode()}"' in text for text in texts]


def test_locks_hold_no_addresses() -> None:
    """Whoever copies a consumer gets its libraries from where his machine gets them."""
    assert 4 == len(LOCKS)
    found = [line for lock in LOCKS for line in lock.read_text().splitlines() if "://" in line]

    assert [] == [line for line in found if '"resolved"' in line or "index" in line]
