"""The costs as text: a section for every pair."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.redis_costs import Cost, Costs
from benchmarks.report import simple_table, title

HEADER = ("cost", "unit", "ours", "peer", "ratio")

METHOD = """\
Of each cost less is better. Each is measured once, in a process of its own, on a fresh server. Bytes (both ways) and
commands are counted by a proxy between a layer object and the server, per send, after a first one; a script is one
command. The server's time is the sum over the commands of one group_send by its ``SLOWLOG``, the median of some. A
member or a waiting receiver that misses its message ends the run with an error; where a peer misses one, it has no
number.
"""


def costs_sections(measured: Sequence[Costs]) -> str:
    sections = []
    for costs in measured:
        table = simple_table(HEADER, [_row(cost) for cost in costs.rows])
        sections.append(f"{title(f'Costs: {costs.contender.name} beside {costs.peer.name}', '-')}\n{table}")
        sections += [f"::\n\n    {problem}\n" for problem in costs.problems]
    return "\n".join([*sections, METHOD])


def _row(cost: Cost) -> tuple[str, ...]:
    ratio = f"{cost.ours / cost.theirs:.3g}" if cost.theirs else "n/a"
    theirs = "wrong" if cost.theirs is None else _number(cost.theirs)
    return cost.name, cost.unit, _number(cost.ours), theirs, ratio


def _number(value: float) -> str:
    """Whole if it is large: a small one may be less than 1, or not be a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
