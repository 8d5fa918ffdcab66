"""The results as text: tables that a terminal and reStructuredText both show, and the page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from benchmarks.catalogue import SPECIAL, description
from benchmarks.contenders import Contender
from benchmarks.measure import Comparison, Effort, Series, Skipped

HEADER = ("workload", "unit", "ours", "spread", "peer", "spread", "ratio", "to reach", "reached")

METHOD = """\
Every round of a layer and a workload runs in a process of its own, or in two, which warms up, collects garbage, and
then measures whole batches of work until it has measured {seconds:g} s of it. A round of ours is followed by a round of
the peer, and so on, {rounds} of each. A number is the median over the rounds, the spread its smallest and largest
value, a ratio the quotient of the two medians. Of a rate more is better, of a latency (us: microseconds) less; in the
chart longer is always better. Only ratios mean something: another machine, or another hour, gives other numbers.

Both layers get a capacity that they cannot reach, and every message received is compared with the one sent: a layer
that loses or repeats one ends the run with an error. A message is
``{{"type": "chat.message", "text": 100 characters, "n": int}}``; for a latency it also carries the time.
"""


def results_sections(rows: Sequence[Comparison | Skipped]) -> str:
    """A title and a table for every pair."""
    pairs = groupby(rows, lambda row: f"{row.contender.name} beside {row.peer.name}")
    return "\n".join(f"{title(pair, '-')}\n{results_table(list(group))}" for pair, group in pairs)


def results_table(rows: Sequence[Comparison | Skipped]) -> str:
    return simple_table(HEADER, [_row(row) if isinstance(row, Comparison) else _skipped(row) for row in rows])


def summary_table(rows: Sequence[Comparison | Skipped]) -> str:
    """The medians of our layers beside each other, by the workloads that all of them are measured by."""
    names: dict[object, str] = {}  # a layer beside several peers has several names: the first counts
    figures: dict[tuple[str, str], None] = {}
    medians: dict[tuple[str, str], str] = {}
    for row in rows:
        layer = row.contender
        name = names.setdefault((layer.backend, repr(layer.config), layer.server), layer.name)
        if row.figure.workload in SPECIAL:
            continue
        figures[row.figure.name, row.figure.unit] = None
        if isinstance(row, Comparison):  # what was measured twice: the first time counts
            medians.setdefault((row.figure.name, name), f"{row.ours.median:,.0f}")
    columns = list(names.values())
    body = [(*figure, *(medians.get((figure[0], name), "n/a") for name in columns)) for figure in figures]
    return simple_table(("workload", "unit", *columns), body)


def simple_table(header: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A "simple table" of reStructuredText."""
    rows = [header, *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join((rule, head, rule, *lines, rule)) + "\n"


def results_page(
    rows: Sequence[Comparison | Skipped],
    effort: Effort,
    facts: Mapping[str, str],
    *,
    chart: str,
    is_rough: bool,
    costs: str = "",
) -> str:
    """The whole page. ``chart`` is the picture's file name beside it, ``costs`` the sections to add."""
    parts = [
        ".. Written by python -m benchmarks: the next run replaces it.\n",
        title("Benchmark results", "="),
    ]
    if is_rough:
        parts.append("A short run: the numbers are rough.\n")
    parts.append(
        f".. image:: {chart}\n   :alt: Ratio to the peer and ratio to reach, by workload; the tables hold the numbers\n"
    )
    parts.append(results_sections(rows))
    if costs:
        parts.append(costs)
    workloads = dict.fromkeys(row.figure.workload for row in rows)
    layers = {layer.name: layer for row in rows for layer in row.contender.pair}
    parts += [
        title("Workloads", "-"),
        "\n".join(f"``{name}``\n    {description(name)}" for name in workloads) + "\n",
        title("Layers", "-"),
        "\n".join(f"{layer.name}\n    {_settings(layer)}" for layer in layers.values()) + "\n",
        title("Machine", "-"),
        "\n".join(f":{name}: {value}" for name, value in facts.items()) + "\n",
        title("Method", "-"),
        METHOD.format(rounds=effort.rounds, seconds=effort.seconds),
    ]
    return "\n".join(parts)


def _row(comparison: Comparison) -> tuple[str, ...]:
    target, figure = comparison.target, comparison.figure
    return (
        figure.name,
        figure.unit,
        f"{comparison.ours.median:,.0f}",
        _spread(comparison.ours),
        f"{comparison.theirs.median:,.0f}",
        _spread(comparison.theirs),
        f"{comparison.ratio:,.2f}" if comparison.ratio >= 0.1 else f"{comparison.ratio:.2g}",
        "none" if target is None else figure.promise(target),
        {None: "n/a", True: "yes", False: "no"}[comparison.reached],
    )


def _skipped(row: Skipped) -> tuple[str, ...]:
    reason = ("reaches no other process", "n/a")
    return (row.figure.name, row.figure.unit, *reason, *reason, "n/a", "n/a", "n/a")


def _spread(series: Series) -> str:
    low, high = series.spread
    return f"{low:,.0f} - {high:,.0f}"


def _settings(layer: Contender) -> str:
    options = ", ".join(f"{option}={value!r}" for option, value in layer.config.items())
    return f"``{layer.backend}({options})``" + (f"; {layer.note}" if layer.note else "")


def title(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"
