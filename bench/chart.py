"""A bar chart as SVG: medians, and a line from the lowest to the highest."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.results import Results
from bench.rows import HTTP
from bench.stats import Spread

WIDTH, LABELS, RIGHT = 900, 380, 80
STEP, BAR, TOP = 30, 18, 46

# Readable on white and on dark pages alike; the page's own preference decides about the text.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.bar { fill: #8c959f } .ours { fill: #1a7f64 }
.range { stroke: #1f2328; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .range { stroke: #e6edf3 } .bar { fill: #6e7681 } .ours { fill: #2ea583 }
}"""


def chart(results: Results, *, part: str = "c64") -> str:
    """Return the chart of requests per second; of what was not measured there is no bar."""
    named = [(row.key, row.title, results.spread(row.key, part, "rate")) for row in HTTP]
    bars = [(key, title, rate) for key, title, rate in named if rate is not None]
    most = max((rate.high for _, _, rate in bars), default=1.0)
    scale = (WIDTH - LABELS - RIGHT) / most
    title = f"Requests per second, {part.removeprefix('c')} connections, median and range"
    drawn = [_bar(place, bar, scale) for place, bar in enumerate(bars)]
    return _document(title, drawn)


def _document(title: str, bars: Sequence[str]) -> str:
    height = TOP + STEP * len(bars) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}\n</style>",
        f'<text class="title" x="10" y="26">{escape(title)}</text>',
        *bars,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bar(place: int, bar: tuple[str, str, Spread], scale: float) -> str:
    key, title, rate = bar
    y = TOP + STEP * place
    middle = y + BAR / 2
    low, median, high = (LABELS + each * scale for each in (rate.low, rate.median, rate.high))
    kind = "bar ours" if key.startswith("ours") else "bar"
    return "\n".join(
        [
            f'<text x="{LABELS - 10}" y="{middle + 5:.0f}" text-anchor="end">'
            f"{escape(title)}</text>",
            f'<rect class="{kind}" x="{LABELS}" y="{y}" width="{median - LABELS:.1f}" '
            f'height="{BAR}" rx="2"/>',
            f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>',
            f'<text x="{high + 8:.1f}" y="{middle + 5:.0f}">{rate.median:,.0f}</text>',
        ]
    )
