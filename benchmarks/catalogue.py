"""All workloads by name, inside one process and across two, and what there is to know of them before they run."""

from __future__ import annotations

from benchmarks.across import ACROSS
from benchmarks.contenders import Contender
from benchmarks.figures import Figure
from benchmarks.workloads import INSIDE

WORKLOADS = (*INSIDE, *ACROSS)

#: Measured only where a contender names them: they take long, or say little of most layers.
SPECIAL = ("idle1k", "idle100k", "crowd")


def figures(workload: str) -> tuple[Figure, ...]:
    return ACROSS[workload].figures if workload in ACROSS else (Figure(workload, workload),)


def description(workload: str) -> str:
    return " ".join(((ACROSS.get(workload) or INSIDE[workload]).__doc__ or "").split())


def concerns(workload: str, contender: Contender) -> bool:
    """Whether a contender is measured by a workload at all."""
    return workload in contender.workloads if contender.workloads else workload not in SPECIAL


def suits(workload: str, contender: Contender) -> bool:
    """A layer that lives in one process cannot reach another, and one that can has no use for a peer that cannot."""
    return workload not in ACROSS or all(layer.shared for layer in contender.pair)
