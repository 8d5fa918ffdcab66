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
member or a waiting receiver that misses its message ends the run with an error.
"""


def costs_sections(measured: Sequence[Costs]) -> str:
    sections = [
        f"{title(f'Costs: {costs.contender.name} beside {costs.peer.name}', '-')}\n"
        f"{simple_table(HEADER, [_row(cost) for cost in costs.rows])}"
        for costs in measured
    ]
    return "\n".join([*sections, METHOD])


def _row(cost: Cost) -> tuple[str, ...]:
    ratio = f"{cost.ours / cost.theirs:.3g}" if cost.theirs else "n/a"
    return cost.name, cost.unit, _number(cost.ours), _number(cost.theirs), ratio


def _number(value: float) -> str:
    """Whole if it is large: a small one may be less than 1, or not be a whole number."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
