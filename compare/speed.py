"""The benchmark's results in short: ratios only. They are read from its page, so that nothing is measured twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

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
