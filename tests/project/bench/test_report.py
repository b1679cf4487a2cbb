"""The page keeps its prose; tables and chart come from the results."""

from xml.etree import ElementTree

from bench import report
from bench.chart import chart
from bench.ordeal import Counts
from bench.results import Results
from bench.tables import faults, table, tables
from tests.project.bench.support import results, sample

FOUND = {
    "floor": {"c64": [sample(rate=40_000.0, delivered=None)]},
    "ours": {"c64": [sample(rate=rate) for rate in (15_000.0, 17_000.0, 16_000.0)]},
}


def test_only_blocks_are_replaced():
    """What stands outside the markers is somebody's text."""
    page = "before\n<!-- bench:bars -->\nold\n<!-- /bench -->\nafter\n"

    once = report.render(page, {"bars": "new"})

    assert "before\n<!-- bench:bars -->\n\nnew\n\n<!-- /bench -->\nafter\n" == once
    assert report.render(once, {"bars": "new"}) == once


def test_page_says_what_was_not_measured():
    """A table of an earlier run must not stay among those of this one."""
    page = "<!-- bench:drain -->\nold\n<!-- /bench -->"

    assert "old" not in report.render(page, {})
    assert "Not measured." in report.render(page, {})


def test_page_has_a_place_for_every_table():
    """The page and the code name the same tables."""
    page = report.PAGE.read_text()

    names = [*report.HEADINGS, *report.OF_OTHERS]
    for name in names:
        assert f"<!-- bench:{name} -->" in page
    assert page.count("<!-- bench:") == page.count("<!-- /bench -->") == len(names)


def test_closed_loop_table():
    """Median, range, and whether every event came out."""
    found = tables(results(FOUND))["closed-64"]

    cells = [cell.strip() for cell in found.splitlines()[-1].split("|")]
    assert ["16,000", "15,000..17,000"] == cells[2:4]
    assert "all" == cells[-2]
    assert found.splitlines()[2].rstrip(" |").endswith("-")


def test_void_measurements_are_shown():
    """They are left out of the medians and named."""
    rounds = [sample(rate=10.0), {**sample(rate=9999.0), "void": "3 requests were not answered"}]
    found = tables(results({"ours": {"c64": rounds}}))

    assert "9,999" not in found["closed-64"]
    assert "VOID" in found["closed-64"]
    assert "c64: 3 requests were not answered" in found["void"]


def test_a_run_leaves_the_blocks_of_another_run():
    """What the faults have shown stays when speed is measured anew."""
    page = "<!-- bench:faults -->\nlost\n<!-- /bench --><!-- bench:drain -->\nold\n<!-- /bench -->"

    assert "lost" in report.render(page, {})
    assert "lost" not in report.render(page, {"faults": "none"})


def test_table_of_faults():
    """One for each fault; a program that did not start is void."""
    found = {"killed": {"Go": Counts(2000, 1046, 2, 3, 4.016, {200: 954, 503: 1046}), "Rust": None}}

    text = faults({"killed": "the broker is killed"}, found)

    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert ["The broker is killed:"] == lines[0]
    assert ["", "Go", "2,000", "1,046", "2", "3", "4.02", ""] == lines[-2]
    assert ["", "Rust", "void", "-", "-", "-", "-", ""] == lines[-1]


def test_columns_are_aligned():
    """The same text is legible on a terminal and as Markdown."""
    lines = table(["", "rate"], [["ours", "1"], ["a longer name", "20,000"]]).splitlines()

    assert 1 == len({len(line) for line in lines})
    assert lines[1].startswith("|---------------|-------:")


def test_chart_is_xml_with_a_bar_for_each_row():
    """A picture that a browser refuses would be an empty place on the page."""
    drawn = ElementTree.fromstring(chart(results(FOUND)))  # noqa: S314  # made here

    bars = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert ["bar", "bar ours"] == [bar.get("class") for bar in bars]


def test_results_survive_the_file(tmp_path):
    """The page can be written again without measuring again."""
    found = results(FOUND)
    found.save(tmp_path / "results.json")

    assert Results.load(tmp_path / "results.json") == found
