"""What a round yields: one number for most workloads, several for some, and for each the end that is the good one."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One number of a workload."""

    name: str
    """For tables, the chart, and the targets of a contender."""

    workload: str

    unit: str = "per second"

    less_is_better: bool = False

    def reaches(self, ratio: float, target: float) -> bool:
        """Whether the ratio to the peer is at the target or beyond it."""
        return ratio <= target if self.less_is_better else ratio >= target

    def promise(self, target: float) -> str:
        return f"{'at most' if self.less_is_better else 'at least'} {target:g}"

    def speedup(self, ratio: float) -> float:
        """The ratio turned so that more is better, whatever the figure."""
        return 1 / ratio if self.less_is_better else ratio
