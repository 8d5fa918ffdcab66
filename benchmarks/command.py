"""The command line: options, the run, and where its results go."""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path

from benchmarks.catalogue import WORKLOADS, concerns, suits
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.errors import WrongResultError
from benchmarks.machine import machine_facts, package_versions, program_versions
from benchmarks.measure import FULL, QUICK, Comparison, Effort, Skipped, compare
from benchmarks.progress import Progress
from benchmarks.redis_server import private_redis
from benchmarks.report import results_page, results_sections, summary_table

PAGE = "results.rst"
CHART = "ratios.svg"
SUMMARY = "summary.txt"  # for another page to include


def main(arguments: Sequence[str] | None = None, contenders: Sequence[Contender] = CONTENDERS) -> int:
    options = _parser(contenders).parse_args(arguments)
    effort = _effort(options)
    chosen = [contender for contender in contenders if contender.name in (options.layer or [contender.name])]
    workloads = [name for name in WORKLOADS if name in (options.workload or WORKLOADS) and options.costs != "only"]
    # Before the minutes of measuring, not after them.
    if problem := _obstacle(chosen, workloads, options):
        return _fail(problem)

    try:
        rows = _rates(chosen, workloads, effort) if workloads else []
    except WrongResultError as wrong:
        return _fail(f"a wrong result, so there are no numbers: {wrong}")
    costs, problem = "", None
    try:
        costs = _costs(chosen, is_quick=options.quick) if options.costs else ""
    except WrongResultError as wrong:  # the rates, which took many minutes, are as they are
        problem = f"a wrong result, so there are no costs: {wrong}"

    print("\n".join(part for part in (results_sections(rows), costs) if part), end="")
    if workloads and not options.no_write:
        _write(options.output, rows, effort, costs, is_rough=effort.seconds < FULL.seconds)
    return _fail(problem) if problem else 0


def _parser(contenders: Sequence[Contender]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure every layer beside its peer from PyPI, in alternating rounds."
    )
    parser.add_argument("--quick", action="store_true", help="a few minutes, rough rates")
    parser.add_argument("--rounds", type=_count, metavar="N", help="per layer and workload")
    parser.add_argument("--scale", type=_factor, default=1.0, help="multiply the time measured in a round")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this one (repeatable)")
    names = [contender.name for contender in contenders]
    parser.add_argument("--layer", action="append", choices=names, help="only this one and its peer (repeatable)")
    parser.add_argument(
        "--costs",
        nargs="?",
        choices=("too", "only"),
        const="too",
        help="the Redis layers' bytes, commands, idle processes and huge groups too; or only them, and not written",
    )
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


def _obstacle(chosen: Sequence[Contender], workloads: Sequence[str], options: argparse.Namespace) -> str | None:
    """Why this cannot be run."""
    if missing := _missing(chosen, draws=bool(workloads) and not options.no_write, counts=bool(options.costs)):
        return f"not installed: {', '.join(missing)}; pip install -e '.[bench]'"
    programs = dict.fromkeys(program for contender in chosen for layer in contender.pair for program in layer.programs)
    if absent := [program for program in programs if not shutil.which(program)]:
        return f"not installed: {', '.join(absent)}; your system has a package for it"
    if options.costs and not any(contender.server is private_redis for contender in chosen):
        return "--costs: none of these layers runs on Redis"
    concerned = [
        (workload, contender) for contender in chosen for workload in workloads if concerns(workload, contender)
    ]
    if workloads and not concerned:
        return "these layers are not measured by these workloads"
    if workloads and not any(suits(*pair) for pair in concerned):
        return "these workloads need two processes, and these layers live in one"
    return None


def _missing(contenders: Sequence[Contender], *, draws: bool, counts: bool) -> list[str]:
    layers = [layer for contender in contenders for layer in contender.pair]
    missing = [layer.backend.rpartition(".")[0] for layer in layers if not layer.is_installed]
    tools = (("pygal", draws), ("hiredis", counts))
    return missing + [tool for tool, is_used in tools if is_used and not find_spec(tool)]


def _rates(chosen: Sequence[Contender], workloads: Sequence[str], effort: Effort) -> list[Comparison | Skipped]:
    with Progress() as progress:
        return compare(chosen, workloads, effort, progress)


def _costs(chosen: Sequence[Contender], *, is_quick: bool) -> str:
    # Only here: they need packages that nothing else does.
    from benchmarks.costs_report import costs_sections
    from benchmarks.redis_costs import FULL_COSTS, QUICK_COSTS, measure_costs

    with Progress() as progress:
        return costs_sections(measure_costs(chosen, QUICK_COSTS if is_quick else FULL_COSTS, progress))


def _write(folder: Path, rows: Sequence[Comparison | Skipped], effort: Effort, costs: str, *, is_rough: bool) -> None:
    from benchmarks.chart import ratio_chart  # without --no-write only: pygal is needed for nothing else

    contenders = [row.contender for row in rows]
    facts = {
        **machine_facts(),
        **package_versions(contenders),
        **program_versions(contenders),
        "Date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "Rounds": f"{effort.rounds} of each layer and workload, of {effort.seconds:g} s each",
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CHART).write_bytes(ratio_chart([row for row in rows if isinstance(row, Comparison)]))
    page = results_page(rows, effort, facts, chart=CHART, is_rough=is_rough, costs=costs)
    (folder / PAGE).write_text(page, encoding="utf-8")
    (folder / SUMMARY).write_text(summary_table(rows), encoding="utf-8")
    print(f"\nWritten: {folder / PAGE}, {folder / CHART}, {folder / SUMMARY}")


def _fail(problem: str) -> int:
    print(f"python -m benchmarks: error: {problem}", file=sys.stderr)
    return 1
