"""Run one scenario on one layer, in a process and on servers of its own."""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from benchmarks.child import in_own_process
from benchmarks.errors import WrongResultError
from benchmarks.progress import Progress
from compare.layers import Compared
from compare.scenario import Outcome, Scenario, cannot, fails
from compare.servers import NotReady
from compare.site import Site

Results = Mapping[tuple[str, str], Outcome]
"""By the names of scenario and layer."""

STARTING_SECONDS = 30.0


def run_all(
    scenarios: Iterable[Scenario],
    layers: Iterable[Compared],
    progress: Progress,
    *,
    at_once: int = 1,
    shows_output: bool = False,
) -> Results:
    """:param at_once: how many runs go on at one time; most of them wait most of the time."""
    pairs = [(scenario, layer) for scenario in scenarios for layer in layers]
    asked = [(scenario, layer) for scenario, layer in pairs if layer.lacks(scenario.needs) is None]
    progress.expect(len(asked))
    telling = threading.Lock()

    def outcome_of(scenario: Scenario, layer: Compared) -> Outcome:
        if (why := layer.lacks(scenario.needs)) is not None:
            return cannot(why)
        outcome = run(scenario, layer, shows_output=shows_output)
        with telling:
            progress.start(f"{scenario.name}, {layer.name}")
            progress.done(str(outcome))
        return outcome

    threads = ThreadPoolExecutor(at_once)
    try:
        outcomes = threads.map(outcome_of, *zip(*pairs, strict=True))
        return {
            (scenario.name, layer.name): outcome for (scenario, layer), outcome in zip(pairs, outcomes, strict=True)
        }
    finally:
        threads.shutdown(cancel_futures=True)  # an interrupt ends those that run; the others do not begin


def run(scenario: Scenario, layer: Compared, *, shows_output: bool = False) -> Outcome:
    """What becomes of it; a layer that hangs, raises or takes its process down has failed."""
    try:
        return in_own_process(_run, scenario.work, layer, shows_output, deadline=scenario.deadline + STARTING_SECONDS)
    except WrongResultError:
        return fails(f"hangs: not finished after {scenario.deadline:g} s")
    except BrokenProcessPool:
        return fails("hangs, and has to be killed")


async def _run(work: Callable[[Site], object], layer: Compared, shows_output: bool) -> Outcome:
    if not shows_output:
        _be_quiet()
    async with Site(layer) as site:
        try:
            return await work(site)  # type: ignore[misc, no-any-return]
        except (Exception, NotReady) as problem:
            if shows_output:
                logging.exception("the scenario ended early")
            return fails(described(problem))


def described(problem: BaseException) -> str:
    """An exception in one line that is not too long for a table."""
    text = " ".join(str(problem).split())
    name = type(problem).__name__
    return f"{name}: {text[:70]}{'...' if len(text) > 70 else ''}" if text else name


def _be_quiet() -> None:
    """What layers log and warn of would hide the progress of the run."""
    warnings.simplefilter("ignore")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 2)
