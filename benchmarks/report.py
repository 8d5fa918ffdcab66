"""The results as text: tables that a terminal and reStructuredText both show, and the page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from benchmarks.measure import Comparison, Effort, Series
from benchmarks.workloads import WORKLOADS

HEADER = ("workload", "ours, per second", "spread", "peer, per second", "spread", "ratio", "to reach", "reached")

METHOD = """\
Every round of a layer and a workload runs in a process of its own, which warms up, collects garbage, and then measures
whole batches of work until it has measured {seconds:g} s of it. A round of ours is followed by a round of the peer, and
so on, {rounds} of each. A rate is the median over the rounds, the spread its smallest and largest value, a ratio the
quotient of the two medians. Only ratios mean something: another machine, or another hour, gives other rates.

Both layers get a capacity that they cannot reach, and every message received is compared with the one sent: a layer
that loses or repeats one ends the run with an error. A message is
``{{"type": "chat.message", "text": 100 characters, "n": int}}``.
"""


def results_sections(comparisons: Sequence[Comparison]) -> str:
    """A title and a table for every pair."""
    pairs = groupby(comparisons, lambda comparison: f"{comparison.contender.name} beside {comparison.peer.name}")
    return "\n".join(f"{_title(title, '-')}\n{results_table(list(group))}" for title, group in pairs)


def results_table(comparisons: Sequence[Comparison]) -> str:
    """A "simple table" of reStructuredText."""
    rows = [HEADER, *(_row(comparison) for comparison in comparisons)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "  ".join("=" * width for width in widths)
    head, *body = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join((rule, head, rule, *body, rule)) + "\n"


def results_page(
    comparisons: Sequence[Comparison], effort: Effort, facts: Mapping[str, str], *, chart: str, is_rough: bool
) -> str:
    """The whole page. ``chart`` is the picture's file name beside it."""
    parts = [
        ".. Written by python -m benchmarks: the next run replaces it.\n",
        _title("Benchmark results", "="),
    ]
    if is_rough:
        parts.append("A short run: the rates are rough.\n")
    parts.append(
        f".. image:: {chart}\n   :alt: Ratio to the peer and ratio to reach, by workload; the tables hold the numbers\n"
    )
    parts.append(results_sections(comparisons))
    workloads = dict.fromkeys(comparison.workload for comparison in comparisons)
    parts += [
        _title("Workloads", "-"),
        "\n".join(f"``{name}``\n    {_description(name)}" for name in workloads) + "\n",
        _title("Machine", "-"),
        "\n".join(f":{name}: {value}" for name, value in facts.items()) + "\n",
        _title("Method", "-"),
        METHOD.format(rounds=effort.rounds, seconds=effort.seconds),
    ]
    return "\n".join(parts)


def _row(comparison: Comparison) -> tuple[str, ...]:
    return (
        comparison.workload,
        f"{comparison.ours.median:,.0f}",
        _spread(comparison.ours),
        f"{comparison.theirs.median:,.0f}",
        _spread(comparison.theirs),
        f"{comparison.ratio:,.2f}",
        "none" if comparison.target is None else f"{comparison.target:g}",
        {None: "n/a", True: "yes", False: "no"}[comparison.reached],
    )


def _spread(series: Series) -> str:
    low, high = series.spread
    return f"{low:,.0f} - {high:,.0f}"


def _description(workload: str) -> str:
    return (WORKLOADS[workload].__doc__ or "").strip()


def _title(text: str, underline: str) -> str:
    return f"{text}\n{underline * len(text)}\n"
