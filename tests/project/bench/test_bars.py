"""Claims are ratios of medians, and nothing is claimed with a void row."""

from bench.bars import BARS, Bar, Figure
from bench.rows import ROWS
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


def test_bars_name_rows_that_exist():
    """A misspelt row would silently claim nothing."""
    named = {each.row for bar in BARS for each in (bar.figure, bar.relative_to) if each}

    assert named <= {row.key for row in ROWS}
