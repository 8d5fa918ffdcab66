"""The run: every round of ours next to a round of the peer, so that what else the machine does meets both alike."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.catalogue import concerns, figures, suits
from benchmarks.child import Round
from benchmarks.contenders import Contender
from benchmarks.figures import Figure
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
    """One figure in all rounds of a layer."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        return min(self.values), max(self.values)


@dataclass(frozen=True)
class Comparison:
    """One figure of one of our layers beside its peer."""

    contender: Contender
    peer: Contender
    figure: Figure
    ours: Series
    theirs: Series

    @property
    def ratio(self) -> float:
        """Ratio of the medians, ours to the peer's."""
        return self.ours.median / self.theirs.median

    @property
    def target(self) -> float | None:
        return self.contender.targets.get(self.figure.name)

    @property
    def reached(self) -> bool | None:
        """None where nothing was promised."""
        return None if self.target is None else self.figure.reaches(self.ratio, self.target)


@dataclass(frozen=True)
class Skipped:
    """A figure that a pair cannot have."""

    contender: Contender
    peer: Contender
    figure: Figure


def compare(
    contenders: Iterable[Contender], workloads: Sequence[str], effort: Effort, progress: Progress
) -> list[Comparison | Skipped]:
    """Measure each contender beside its peer."""
    compared = [contender for contender in contenders if contender.peer]
    measured = sum(
        concerns(workload, contender) and suits(workload, contender) for contender in compared for workload in workloads
    )
    progress.expect(measured * effort.rounds * 2)
    return [row for contender in compared for row in _compare(contender, workloads, effort, progress)]


def _compare(
    contender: Contender, workloads: Iterable[str], effort: Effort, progress: Progress
) -> Iterator[Comparison | Skipped]:
    ours, peer = contender.pair
    with _servers_for(ours, peer) as layers:
        for workload in workloads:
            if not concerns(workload, ours):
                continue
            if not suits(workload, contender):
                yield from (Skipped(ours, peer, figure) for figure in figures(workload))
                continue
            rounds = _alternate(layers, workload, effort, progress)
            for figure in figures(workload):
                series = (Series(tuple(result[figure.name] for result in of_layer)) for of_layer in rounds)
                yield Comparison(ours, peer, figure, *series)


def _alternate(
    layers: Sequence[Contender], workload: str, effort: Effort, progress: Progress
) -> list[list[dict[str, float]]]:
    """The results of the first layer's rounds, and those of the second's."""
    results: list[list[dict[str, float]]] = [[] for _ in layers]
    for number in range(1, effort.rounds + 1):
        for layer, so_far in zip(layers, results, strict=True):
            progress.start(f"{layer.name}, {workload}, round {number} of {effort.rounds}")
            result = Round(layer, workload, effort.seconds, effort.deadline).run()
            so_far.append(result)
            progress.done(", ".join(f"{result[figure.name]:,.0f} {figure.unit}" for figure in figures(workload)))
    return results


@contextmanager
def _servers_for(*layers: Contender) -> Iterator[list[Contender]]:
    """Start what the layers need, each server once; yield the layers with the way to it in their configuration."""
    with ExitStack() as stack:
        servers: dict[object, Mapping[str, Any]] = {}
        for layer in layers:
            if layer.server not in servers:
                servers[layer.server] = stack.enter_context(layer.server())
        yield [layer.reaching(servers[layer.server]) for layer in layers]
