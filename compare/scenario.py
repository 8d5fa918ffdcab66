"""What a scenario is, and what can come of it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compare.site import Site

PASSES, FAILS, CANNOT = "passes", "fails", "cannot"


@dataclass(frozen=True)
class Outcome:
    """What became of one scenario on one layer."""

    verdict: str
    figure: str = ""
    """What was counted, for a reader; of a scenario that a layer cannot do: why."""

    def __str__(self) -> str:
        return f"{self.verdict}: {self.figure}" if self.figure else self.verdict


def passes(figure: str = "") -> Outcome:
    return Outcome(PASSES, figure)


def fails(figure: str) -> Outcome:
    return Outcome(FAILS, figure)


def cannot(why: str) -> Outcome:
    return Outcome(CANNOT, why)


def none_of(bad: int, total: int, what: str) -> Outcome:
    """Passes if there are none: ``none_of(37, 1_000, "lost")`` fails with "37 of 1,000 lost"."""
    figure = f"{bad:,} of {total:,} {what}"
    return fails(figure) if bad else passes(figure)


Work = Callable[["Site"], Awaitable[Outcome]]


@dataclass(frozen=True)
class Scenario:
    """A situation, as a coroutine that takes a :class:`~compare.site.Site`."""

    name: str
    """For ``--scenario``."""

    title: str
    """For the matrix."""

    work: Work

    needs: tuple[str, ...]
    """What a layer has to be able to do: keys of :data:`compare.layers.ABILITIES`."""

    seen: str
    """Where people reported it."""

    deadline: float
    """Seconds after which the layer hangs. For a machine that others use, too."""

    @property
    def text(self) -> str:
        """What a user would notice."""
        return " ".join(inspect.cleandoc(self.work.__doc__ or "").split())


ENTERED: dict[str, Scenario] = {}
"""Those of all modules that were imported."""


def scenario(
    title: str,
    *,
    needs: tuple[str, ...] = (),
    seen: str = "",
    deadline: float = 90.0,
) -> Callable[[Work], Work]:
    """Enter a coroutine into the list, under its own name. Its docstring goes to the page."""

    def enter(work: Work) -> Work:
        name = work.__name__.replace("_", "-")  # type: ignore[attr-defined]
        ENTERED[name] = Scenario(name, title, work, needs, seen, deadline)
        return work

    return enter
