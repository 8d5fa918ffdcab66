"""The command line: options, the run, and where its results go."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.machine import machine_facts, package_versions
from benchmarks.measure import FULL, QUICK, Comparison, Effort, compare
from benchmarks.progress import Progress
from benchmarks.report import results_page, results_sections
from benchmarks.workloads import WORKLOADS, WrongResultError

PAGE = "results.rst"
CHART = "ratios.svg"


def main(arguments: Sequence[str] | None = None, contenders: Sequence[Contender] = CONTENDERS) -> int:
    options = _parser(contenders).parse_args(arguments)
    effort = _effort(options)
    chosen = [contender for contender in contenders if contender.name in (options.layer or [contender.name])]
    workloads = [name for name in WORKLOADS if name in (options.workload or WORKLOADS)]
    # Before the minutes of measuring, not after them.
    if missing := _missing(chosen, draws=not options.no_write):
        return _fail(f"not installed: {', '.join(missing)}; pip install -e '.[bench]'")

    progress = Progress()
    try:
        comparisons = compare(chosen, workloads, effort, progress)
    except WrongResultError as problem:
        return _fail(f"a wrong result, so there are no rates: {problem}")
    finally:
        progress.end()

    print(results_sections(comparisons), end="")
    if not options.no_write:
        _write(options.output, comparisons, effort, is_rough=effort.seconds < FULL.seconds)
    return 0


def _parser(contenders: Sequence[Contender]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure every layer beside its peer from PyPI, in alternating rounds."
    )
    parser.add_argument("--quick", action="store_true", help="about a minute, rough rates")
    parser.add_argument("--rounds", type=_count, metavar="N", help="per layer and workload")
    parser.add_argument("--scale", type=_factor, default=1.0, help="multiply the time measured in a round")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this one (repeatable)")
    names = [contender.name for contender in contenders]
    parser.add_argument("--layer", action="append", choices=names, help="only this one and its peer (repeatable)")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/benchmarks"), metavar="DIR", help="default: %(default)s"
    )
    parser.add_argument("--no-write", action="store_true", help="only print")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _factor(text: str) -> float:
    with suppress(ValueError):
        if 0 < (factor := float(text)) < math.inf:
            return factor
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def _effort(options: argparse.Namespace) -> Effort:
    effort = QUICK if options.quick else FULL
    return replace(effort, rounds=options.rounds or effort.rounds, seconds=effort.seconds * options.scale)


def _missing(contenders: Sequence[Contender], *, draws: bool) -> list[str]:
    layers = [layer for contender in contenders for layer in (contender, contender.peer) if layer]
    missing = [layer.backend.partition(".")[0] for layer in layers if not layer.is_installed]
    return missing + (["pygal"] if draws and not find_spec("pygal") else [])


def _write(folder: Path, comparisons: Sequence[Comparison], effort: Effort, *, is_rough: bool) -> None:
    from benchmarks.chart import ratio_chart  # without --no-write only: pygal is needed for nothing else

    facts = {
        **machine_facts(),
        **package_versions(comparison.contender for comparison in comparisons),
        "Date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "Rounds": f"{effort.rounds} of each layer and workload, of {effort.seconds:g} s each",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHART).write_bytes(ratio_chart(comparisons))
    page = results_page(comparisons, effort, facts, chart=CHART, is_rough=is_rough)
    (folder / PAGE).write_text(page, encoding="utf-8")
    print(f"\nWritten: {folder / PAGE}, {folder / CHART}")


def _fail(problem: str) -> int:
    print(f"python -m benchmarks: error: {problem}", file=sys.stderr)
    return 1
