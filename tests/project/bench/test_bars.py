"""Claims are ratios of medians, and nothing is claimed with a void row."""

import pytest

from bench.bars import Bar, Figure, bars
from bench.builds import COMPILED, INTERPRETED
from bench.rows import rows_of
from tests.project.bench.support import results, sample

FASTER = Bar("faster", Figure("ours", "c64", "rate"), Figure("naive", "c64", "rate"), 2.0, 3.0)
QUICK = Bar(
    "p99, ms", Figure("ours", "c64", "p99_us"), None, 10, 5, least=False, unit=1000
)  # fmt: skip


def test_ratio_is_of_medians():
    """One noisy round moves neither side."""
    found = results(
        {
            "ours": {"c64": [sample(rate=rate) for rate in (5000.0, 5200.0, 100.0)]},
            "naive": {"c64": [sample(rate=rate) for rate in (2000.0, 2100.0, 9000.0)]},
        }
    )

    value = FASTER.value(found)

    assert 5000 / 2100 == value
    assert "pass" == FASTER.verdict(value)


def test_less_can_be_better():
    """A latency passes below its bar."""
    verdicts = [QUICK.verdict(value) for value in (4.9, 9.9, 10.1)]

    assert ["stretch", "pass", "FAIL"] == verdicts


def test_units():
    """A figure without a peer is given in the unit of its bar."""
    assert 7.5 == QUICK.value(results({"ours": {"c64": [sample(p99_us=7500.0)]}}))


def test_void_row_claims_nothing():
    """One round in which an accepted event was not delivered takes the claim back."""
    rounds = [sample(), sample(), {**sample(), "void": "1 accepted events were not delivered"}]
    found = results({"ours": {"c64": rounds}, "naive": {"c64": [sample()]}})

    assert FASTER.value(found) is None
    assert "-" == FASTER.verdict(None)


@pytest.mark.parametrize("build", [COMPILED, INTERPRETED])
def test_bars_name_rows_that_exist(build, tmp_path):
    """A misspelt row would silently claim nothing."""
    named = {each.row for bar in bars(build) for each in (bar.figure, bar.relative_to) if each}

    rows = {row.key for row in rows_of(build=build, against=tmp_path)}
    assert named <= rows | {"instructions"}


def test_an_interpreted_bridge_is_not_measured_by_the_bars_of_a_compiled_one():
    """In a tree without compiled modules the row of the bridge is of the interpreted build."""
    compiled, interpreted = (
        {bar.claim: bar for bar in bars(build)} for build in (COMPILED, INTERPRETED)
    )

    claim = "interpreted: requests/s to bare Fastify, c64"
    assert "ours-interpreted" == compiled[claim].figure.row
    assert "ours" == interpreted[claim].figure.row
    assert "requests/s to bare Fastify, c64" in compiled.keys() - interpreted.keys()
