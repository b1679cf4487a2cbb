"""The tables of a report, in Markdown that is legible as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.bars import bars
from bench.builds import COMPILED, INTERPRETED
from bench.ordeal import Counts
from bench.results import Results
from bench.rows import BODIES, BROKER, DRAIN, GROWTH, HTTP, OPEN, ROWS, Row
from bench.stats import Spread

Align = Callable[[str, int], str]


def tables(results: Results) -> dict[str, str]:
    """Return all tables by name; one for which nothing was measured is left out."""
    found = {
        "bars": _bars(results),
        "closed-64": _closed(results, "c64", HTTP),
        "closed-256": _closed(results, "c256", _claimed()),
        "broker": _broker(results),
        "open": _open(results),
        "drain": _drain(results),
        "growth": _growth(results),
        "bodies": _bodies(results),
        "void": _void(results),
        "machine": _machine(results),
    }
    return {name: table for name, table in found.items() if table}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, align: Align = str.rjust) -> str:
    """Return a table, the first column aligned to the left; empty without rows."""
    if not rows:
        return ""
    widths = [max(3, *map(len, column)) for column in zip(header, *rows, strict=True)]
    end = ":" if align is str.rjust else "-"
    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + end for width in widths[1:])]
    head, *lines = (_line(each, widths, align) for each in (header, *rows))
    return "\n".join((head, f"|{'|'.join(rule)}|", *lines))


def _line(cells: Sequence[str], widths: Sequence[int], align: Align) -> str:
    first, *rest = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(align(cell, width) for cell, width in rest)]
    return f"| {' | '.join(padded)} |"


def faults(titles: Mapping[str, str], found: Mapping[str, Mapping[str, Counts | None]]) -> str:
    """Return a table for each fault, by key, below its title; columns are of ``Counts``."""
    header = ["", "posts", "refused", "lost", "duplicates", "slowest answer, s"]
    parts = []
    for key, title in titles.items():
        rows = [[name, *_fates(counts)] for name, counts in found[key].items()]
        parts.append(f"{title[0].upper()}{title[1:]}:\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def _fates(counts: Counts | None) -> list[str]:
    if counts is None:
        return ["void", "-", "-", "-", "-"]
    numbers = (counts.sent, counts.refused, counts.lost, counts.duplicates)
    return [*(f"{each:,}" for each in numbers), f"{counts.slowest:.2f}"]


def _bars(results: Results) -> str:
    rows = []
    for bar in bars(results.build):
        value = bar.value(results)
        sign = ">=" if bar.least else "<="
        measured = "-" if value is None else f"{value:.3f}"
        limits = [f"{sign} {bar.bar:g}", f"{bar.stretch:g}"]
        rows.append([bar.claim, measured, *limits, bar.verdict(value)])
    measured_any = any(row[1] != "-" for row in rows)
    return table(["claim", "measured", "bar", "stretch", ""], rows if measured_any else [])


def _claimed() -> list[Row]:
    """Return the rows of which something is claimed."""
    claims = [*bars(COMPILED), *bars(INTERPRETED)]
    keys = {each.row for bar in claims for each in (bar.figure, bar.relative_to) if each}
    return [row for row in HTTP if row.key in keys]


def _closed(results: Results, part: str, wanted: Sequence[Row]) -> str:
    header = ["", "requests/s", "lowest..highest", "p50 ms", "p99 ms", "p99.9 ms", "CPU us",
              "MiB", "delivered"]  # fmt: skip
    rows = []
    for row in _measured(results, wanted, part):
        rate = results.spread(row.key, part, "rate")
        latencies = [_ms(results, row, part, each) for each in ("p50_us", "p99_us", "p999_us")]
        cpu, memory = (_number(results, row, part, each) for each in ("cpu_us", "rss_mib"))
        rows.append([row.title, *_rates(rate), *latencies, cpu, memory, _delivered(results, row)])
    return table(header, rows)


def _broker(results: Results) -> str:
    rows = [[row.title, *_rates(results.spread(row.key, "w256", "rate"))]
            for row in _measured(results, BROKER, "w256")]  # fmt: skip
    return table(["", "messages/s", "lowest..highest"], rows)


def _open(results: Results) -> str:
    header = ["", "p50 ms", "p99 ms", "lowest..highest p99", "p99.9 ms", "CPU us", "own lag p99 ms"]
    rows = []
    for row in OPEN:
        for part in results.rows.get(row.key, {}):
            p99 = results.spread(row.key, part, "p99_us")
            between = f"{p99.low / 1000:.1f}..{p99.high / 1000:.1f}" if p99 else "void"
            p50, middle, p999, lag = (
                _ms(results, row, part, each) for each in ("p50_us", "p99_us", "p999_us", "lag_us")
            )
            cpu = _number(results, row, part, "cpu_us")
            rows.append([row.title, p50, middle, between, p999, cpu, lag])
    return table(header, rows)


def _drain(results: Results) -> str:
    direct = results.median("ours", "c64", "rate")
    rows = []
    for row in _measured(results, DRAIN, "drain"):
        rate = results.spread(row.key, "drain", "rate")
        ratio = f"{rate.median / direct:.2f}" if rate and direct else "-"
        rows.append([row.title, *_rates(rate), ratio])
    return table(["", "events/s", "lowest..highest", "to the direct rate"], rows)


def _growth(results: Results) -> str:
    header = ["", "CPU us near", "far", "far/near", "requests/s near", "far", "MiB near", "far"]
    rows = []
    for row in _measured(results, GROWTH, "near"):
        near, far = (results.median(row.key, end, "cpu_us") for end in ("near", "far"))
        ratio = f"{far / near:.2f}" if near and far else "-"
        cpu = [_number(results, row, end, "cpu_us") for end in ("near", "far")]
        others = [_number(results, row, end, figure) for figure in ("rate", "rss_mib")
                  for end in ("near", "far")]  # fmt: skip
        rows.append([row.title + _amount(results, row), *cpu, ratio, *others])
    return table(header, rows)


def _amount(results: Results, row: Row) -> str:
    """Return how many there were at the far end, where that depends on the run."""
    amounts = (results.median(row.key, "far", each) for each in ("spooled_before", "remembered"))
    found = [f": {amount:,.0f}" for amount in amounts if amount is not None]
    return found[0] if found else ""


def _bodies(results: Results) -> str:
    rows = []
    for row in BODIES:
        for part in results.rows.get(row.key, {}):
            rate = results.median(row.key, part, "rate")
            size = results.median(row.key, part, "body_bytes")
            volume = f"{rate * size / 1e6:,.1f}" if rate and size else "-"
            figures = [_number(results, row, part, each) for each in ("body_bytes", "rate")]
            more = [_number(results, row, part, each) for each in ("cpu_us", "rss_mib")]
            rows.append([part, *figures, volume, *more])
    return table(["body", "bytes", "requests/s", "MB/s", "CPU us", "MiB"], rows)


def _void(results: Results) -> str:
    rows = [[row.title, reason] for row in ROWS for reason in results.void(row.key)]
    rows += [[row.title, f"skipped: {results.skipped[row.key]}"]
             for row in ROWS if row.key in results.skipped]  # fmt: skip
    return table(["does not count", "because"], rows, align=str.ljust)


def _machine(results: Results) -> str:
    facts = {**results.notes, **results.machine}
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _measured(results: Results, rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if results.rows.get(row.key, {}).get(part)]


def _rates(rate: Spread | None) -> list[str]:
    if rate is None:
        return ["void", "-"]
    return [f"{rate.median:,.0f}", f"{rate.low:,.0f}..{rate.high:,.0f}"]


def _ms(results: Results, row: Row, part: str, figure: str) -> str:
    value = results.median(row.key, part, figure)
    return "-" if value is None else f"{value / 1000:.1f}"


def _number(results: Results, row: Row, part: str, figure: str) -> str:
    value = results.median(row.key, part, figure)
    return "-" if value is None else f"{value:,.0f}"


def _delivered(results: Results, row: Row) -> str:
    if results.void(row.key):
        return "VOID"
    parts = results.rows[row.key].values()
    delivers = any(each.get("delivered") is not None for part in parts for each in part)
    return "all" if delivers else "-"
