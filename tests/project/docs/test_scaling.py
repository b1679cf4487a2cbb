"""docs/scaling.md: what a spool takes on disk, and that the plan is what its formulas say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.spools import Messages
from bridge.spool import opened
from tests.project.docs.documents import Row, table
from tests.values import changed

PAGE = "scaling.md"
TITLE = "The spool for an outage"
SIZES = table(PAGE, TITLE)
OUTAGES = table(PAGE, TITLE, number=1)
EVENTS = 600
DRAINED = 8_064
"""A second, beside new events."""

UNITS = {"million": 10**6, "GB": 10**9, "GiB": 2**30, "h": 3600, "min": 60, "s": 1}


def number(text: str) -> float:
    """Return the first number of a cell, times its unit."""
    found = re.match(r"([\d,.]+) ?([A-Za-z]+)?", text)
    assert found is not None
    return float(found[1].replace(",", "")) * UNITS.get(found[2] or "", 1)


def usual() -> float:
    """Return what the usual event counts."""
    [counted] = [number(row["Counted"]) for row in SIZES if row["Body, bytes"] == "1,040"]
    return counted


@pytest.mark.parametrize("row", SIZES, ids=[row["Body, bytes"] for row in SIZES])
async def test_an_event_takes_on_disk_what_the_table_says(row: Row, tmp_path: Path) -> None:
    """Counted exactly, on disk but for the few pages that are there without events."""
    path, made, size = tmp_path / "spool.db", Messages(), int(number(row["Body, bytes"]))
    async with opened(path, max_bytes=1 << 40, lock_wait=0) as spool:
        for place in range(EVENTS):
            body = made(place).body.ljust(size)[:size]
            spool.append(changed(made(place), body=body), on_written=lambda *_: None)
        await spool.flush()
        counted = spool.bytes / EVENTS
    on_disk = path.stat().st_size / EVENTS

    assert number(row["Counted"]) == counted
    assert number(row["On disk"]) == pytest.approx(on_disk, rel=0.03)
    assert on_disk / counted < 2.1


@pytest.mark.parametrize("row", OUTAGES, ids=[str(place) for place in range(len(OUTAGES))])
def test_the_plan_is_what_the_formulas_say(row: Row) -> None:
    """Each figure follows from rate and time, but for rounding."""
    rate = number(row["Events a second"])
    waiting = rate * number(row["Without RabbitMQ for"])
    max_bytes = waiting * usual() * 1.5

    assert number(row["Wait"]) == pytest.approx(waiting, rel=0.05)
    assert number(row["`max_bytes`"]) == pytest.approx(max_bytes, rel=0.05)
    assert number(row["Then empty after"]) == pytest.approx(waiting / (DRAINED - rate), rel=0.05)
    if "default" not in row["`max_bytes`"]:
        assert number(row["Volume"]) == pytest.approx(4 * max_bytes, rel=0.05)
