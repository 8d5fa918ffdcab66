"""The benchmark's results in short. They are read from its page, so that nothing is measured twice; what is not there
is measured in the benchmark's quick form."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from benchmarks.catalogue import WORKLOADS
from benchmarks.contenders import CONTENDERS
from benchmarks.measure import QUICK, Comparison, compare
from benchmarks.progress import Progress

SECTION = re.compile(r"^(\S+) beside (\S+)\n-+\n\n((?:.+\n)+)", re.MULTILINE)
LESS_IS_BETTER = "us"


@dataclass(frozen=True)
class Speed:
    """One figure of one of our layers beside its peer."""

    layer: str
    peer: str
    figure: str
    unit: str
    ours: str
    theirs: str
    ratio: float
    is_quick: bool = False

    @property
    def is_worse(self) -> bool:
        return self.ratio > 1 if self.unit == LESS_IS_BETTER else self.ratio < 1


def speeds(page: str) -> Iterator[Speed]:
    """What the benchmark's page says, without what a pair cannot do."""
    for layer, peer, table in SECTION.findall(page):
        for line in table.splitlines():
            cells = re.split(r"\s{2,}", line)
            if len(cells) < 7 or not re.fullmatch(r"[\d.,e+-]+", cells[6]):
                continue
            figure, unit, ours, _, theirs, _, ratio = cells[:7]
            yield Speed(layer, peer, figure, unit, ours, theirs, float(ratio.replace(",", "")))


def measured(layers: Collection[str], progress: Progress) -> Iterator[Speed]:
    """The same of these layers, by the benchmark's quick form."""
    contenders = [contender for contender in CONTENDERS if contender.name in layers]
    for row in compare(contenders, WORKLOADS, QUICK, progress) if contenders else []:
        if isinstance(row, Comparison):
            rates = (f"{series.median:,.0f}" for series in (row.ours, row.theirs))
            figure = row.figure
            ratio = float(f"{row.ratio:.3g}")
            yield Speed(row.contender.name, row.peer.name, figure.name, figure.unit, *rates, ratio, is_quick=True)
