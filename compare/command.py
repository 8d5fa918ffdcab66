"""The command line: options, the run, and where its page goes."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.machine import machine_facts, package_versions, program_versions
from benchmarks.progress import Progress
from benchmarks.report import simple_table
from compare.layers import LAYERS, Compared
from compare.page import comparison_page
from compare.run import Results, run_all
from compare.scenario import CANNOT, FAILS, PASSES, Scenario
from compare.scenarios import SCENARIOS
from compare.speed import measured, speeds

PAGE = Path("docs/comparison.rst")
SPEED = Path("docs/benchmarks/results.rst")


def main(
    arguments: Sequence[str] | None = None,
    layers: Sequence[Compared] = LAYERS,
    scenarios: Mapping[str, Scenario] = SCENARIOS,
) -> int:
    """0 if each of our layers passes what it claims."""
    options = _parser(layers, scenarios).parse_args(arguments)
    chosen = [layer for layer in layers if layer.name in (options.layer or [layer.name])]
    asked = [scenario for scenario in scenarios.values() if scenario.name in (options.scenario or [scenario.name])]
    # Before the minutes of running, not after them.
    if problem := _obstacle(chosen):
        print(f"python -m compare: error: {problem}", file=sys.stderr)
        return 1

    with Progress() as progress:
        results = run_all(asked, chosen, progress, at_once=options.at_once, shows_output=options.verbose)

    print(_summary(asked, chosen, results), end="")
    is_whole = len(chosen) == len(layers) and len(asked) == len(scenarios)
    if options.output or is_whole:
        known = list(speeds(options.speed.read_text(encoding="utf-8"))) if options.speed.exists() else []
        if not options.no_measuring:
            missing = {layer.name for layer in chosen if layer.ours} - {speed.layer for speed in known}
            with Progress() as progress:
                known += measured(missing, progress)
        _write(options.output or PAGE, comparison_page(asked, chosen, results, _facts(chosen), known))
    ours = {layer.name for layer in chosen if layer.ours}
    failed = [pair for pair, outcome in results.items() if outcome.verdict == FAILS and pair[1] in ours]
    for scenario, layer in failed:
        print(f"FAILED: {layer} does not keep what it claims: {scenario}: {results[scenario, layer].figure}")
    return 1 if failed else 0


def _parser(layers: Sequence[Compared], scenarios: Mapping[str, Scenario]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compare", description="Every layer and every peer in every situation that users complain about."
    )
    parser.add_argument("--scenario", action="append", choices=list(scenarios), help="only this one (repeatable)")
    names = [layer.name for layer in layers]
    parser.add_argument("--layer", action="append", choices=names, help="only this one (repeatable)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=f"default: {PAGE} if everything is run, otherwise only print"
    )
    parser.add_argument(
        "--speed", type=Path, default=SPEED, metavar="FILE", help="the benchmark's results; default: %(default)s"
    )
    parser.add_argument("--no-measuring", action="store_true", help="leave out speeds that are not there")
    parser.add_argument(
        "--at-once",
        type=int,
        default=2,
        choices=range(1, 17),
        metavar="N",
        help="runs that go on at one time, 1 to 16; default: %(default)s",
    )
    parser.add_argument("--verbose", action="store_true", help="show what layers log and warn of")
    return parser


def _obstacle(chosen: Sequence[Compared]) -> str | None:
    """Why this cannot be run."""
    if missing := [layer.name for layer in chosen if not layer.is_installed]:
        return f"not installed: what {', '.join(missing)} need; pip install -e '.[compare]'"
    programs = dict.fromkeys(program for layer in chosen for program in layer.programs)
    if absent := [program for program in programs if not shutil.which(program)]:
        return f"not installed: {', '.join(absent)}; your system has a package for it"
    return None


def _summary(scenarios: Sequence[Scenario], layers: Sequence[Compared], results: Results) -> str:
    """How many of each verdict; the lines above it have the rest."""
    body = []
    for layer in layers:
        verdicts = [results[scenario.name, layer.name].verdict for scenario in scenarios]
        body.append((layer.name, *(str(verdicts.count(verdict)) for verdict in (PASSES, FAILS, CANNOT))))
    return simple_table(("layer", PASSES, FAILS, CANNOT), body)


def _facts(layers: Sequence[Compared]) -> dict[str, str]:
    date = {"Date": f"{datetime.now(timezone.utc):%Y-%m-%d}"}
    return {**machine_facts(), **package_versions(layers), **program_versions(layers), **date}


def _write(file: Path, page: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, encoding="utf-8")
    print(f"\nWritten: {file}")
