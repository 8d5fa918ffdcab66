"""The ratios as a picture: a static SVG, without script and without anything to load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Comment, Element

import pygal
from pygal.style import Style

from benchmarks.measure import Comparison

# The background is opaque: the picture stays readable where a page's own switch and the system's setting differ.
STYLE = """inline:
.text-overlay text.value { text-anchor: start !important; }
@media (prefers-color-scheme: dark) {
  .graph > .background, .plot > .background { fill: #16181c !important; }
  text, .legends .legend text, .axis text, .axis text.major, .series text, .text-overlay text.value {
    fill: #d8dade !important;
  }
  .axis .line, .axis .guide.line { stroke: #5b6068 !important; }
}
"""


def ratio_chart(comparisons: Sequence[Comparison]) -> bytes:
    """Horizontal bars on a logarithmic scale: the ratio to the peer, and the one to reach. Longer is better."""
    rows = comparisons[::-1]  # pygal draws upwards
    ratios = [row.figure.speedup(row.ratio) for row in rows]
    targets = [row.target and row.figure.speedup(row.target) for row in rows]
    decades = _decades([value for value in (*ratios, *targets) if value])
    chart = pygal.HorizontalBar(
        css=["file://style.css", "file://graph.css", STYLE],
        style=Style(
            background="#ffffff",
            plot_background="#ffffff",
            foreground="#24292f",
            foreground_strong="#24292f",
            colors=("#2f81c4", "#9aa4af"),
            font_family="system-ui, sans-serif",
            label_font_size=13,
            major_label_font_size=13,
            legend_font_size=13,
            value_font_size=13,
            guide_stroke_color="#d0d7de",
            major_guide_stroke_color="#d0d7de",
            guide_stroke_dasharray="",
            major_guide_stroke_dasharray="",
            opacity="1",
        ),
        logarithmic=True,
        range=(decades[0], decades[-1]),
        zero=decades[0],  # else the shortest bar has no length
        margin_bottom=0,
        margin_right=50,  # for the number beside the longest one
        width=760,
        height=110 + 62 * len(rows),
        legend_at_bottom=True,
        print_values=True,
        print_values_position="top",
        value_formatter=_times,
        y_labels=decades,
    )
    chart.uuid = "ratios"  # else a new one in every rule of the style at every run
    chart.x_labels = [f"{row.contender.name}: {row.figure.name}" for row in rows]
    chart.add("times as fast as the peer", ratios)
    chart.add("to reach", targets)
    chart.add_xml_filter(_only_the_picture)
    return chart.render()


def _times(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 10 else f"{ratio:,.0f}"


def _decades(values: Sequence[float]) -> list[float]:
    """The powers of ten around all the values, 1 among them: there both are equally fast."""
    low = min(0, math.floor(math.log10(min(values))))
    high = max(1, math.ceil(math.log10(max(values))))
    return [10.0**exponent for exponent in range(low, high + 1)]


def _only_the_picture(root: Element) -> Element:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {"script", Comment}:
                parent.remove(child)
    return root
