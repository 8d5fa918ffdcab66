"""The run: every round of ours next to a round of the peer, so that what else the machine does meets both alike."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.child import Round
from benchmarks.contenders import Contender
from benchmarks.progress import Progress


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int
    seconds: float
    """Of measured work in a round, at least; whole batches are measured."""

    deadline: float = 120.0
    """Seconds after which a round counts as hanging."""


FULL = Effort(rounds=7, seconds=1.0)
QUICK = Effort(rounds=3, seconds=0.1)


@dataclass(frozen=True)
class Series:
    """The rates of one layer's rounds, per second."""

    rates: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.rates), max(self.rates)


@dataclass(frozen=True)
class Comparison:
    """One workload of one of our layers beside its peer."""

    contender: Contender
    peer: Contender
    workload: str
    ours: Series
    theirs: Series

    @property
    def ratio(self) -> float:
        """Ratio of the medians: more than 1 is faster than the peer."""
        return self.ours.median / self.theirs.median

    @property
    def target(self) -> float | None:
        return self.contender.targets.get(self.workload)

    @property
    def reached(self) -> bool | None:
        """None where nothing was promised."""
        return None if self.target is None else self.ratio >= self.target


def compare(
    contenders: Iterable[Contender], workloads: Iterable[str], effort: Effort, progress: Progress
) -> list[Comparison]:
    """Measure each contender beside its peer."""
    pairs = [(contender, contender.peer) for contender in contenders if contender.peer]
    workloads = list(workloads)
    progress.expect(len(pairs) * len(workloads) * effort.rounds * 2)
    comparisons = []
    for pair in pairs:
        with _servers_for(*pair) as layers:
            for workload in workloads:
                ours, theirs = _alternate(layers, workload, effort, progress)
                comparisons.append(Comparison(*pair, workload, ours, theirs))
    return comparisons


def _alternate(layers: Sequence[Contender], workload: str, effort: Effort, progress: Progress) -> list[Series]:
    rates: list[list[float]] = [[] for _ in layers]
    for number in range(1, effort.rounds + 1):
        for layer, so_far in zip(layers, rates, strict=True):
            progress.start(f"{layer.name}, {workload}, round {number} of {effort.rounds}")
            so_far.append(Round(layer, workload, effort.seconds, effort.deadline).run())
            progress.done(f"{so_far[-1]:,.0f}/s")
    return [Series(tuple(of_layer)) for of_layer in rates]


@contextmanager
def _servers_for(*layers: Contender) -> Iterator[list[Contender]]:
    """Start what the layers need, each server once; yield the layers with the way to it in their configuration."""
    with ExitStack() as stack:
        servers: dict[object, Mapping[str, Any]] = {}
        for layer in layers:
            if layer.server not in servers:
                servers[layer.server] = stack.enter_context(layer.server())
        yield [replace(layer, config={**layer.config, **servers[layer.server]}) for layer in layers]
