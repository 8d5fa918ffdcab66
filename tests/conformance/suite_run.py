"""Runs the conformance suite on many layers at once, in processes of their own, and reads how its tests ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

HERE = Path(__file__).parent

#: A process mostly waits for what a broken layer does not deliver, so there are more of them than cores.
_PROCESSES = 6

#: Seconds after which a test that does not even keep its own deadlines is stopped; then all of a process.
_TEST_TIMEOUT = 30
_PROCESS_TIMEOUT = 900


class Ended(NamedTuple):
    """How one test ended on one layer; a test with parameters has ended once for each."""

    layer: str
    test: str
    outcome: str
    text: str
    seconds: float

    @property
    def name(self) -> str:
        """The name of the test without its parameters."""
        return self.test.partition("[")[0]


#: Seconds that a step of a test may take that shall fail. To mistake a slow machine for a failure does no harm there.
_DEADLINE = 1.0

Tests = Mapping[str, Collection[str]]


def run_suite(shall_fail: Tests, shall_pass: Tests, folder: Path) -> list[Ended]:
    """Run tests on layers, both by their names."""
    layers = sorted({*shall_fail, *shall_pass})
    runs = []
    for number in range(_PROCESSES):
        task, output = folder / f"task-{number}.json", folder / f"ended-{number}.jsonl"
        output.touch()
        share = layers[number::_PROCESSES]
        choice = {
            "shall_fail": {layer: sorted(shall_fail.get(layer, ())) for layer in share},
            "shall_pass": {layer: sorted(shall_pass.get(layer, ())) for layer in share},
            "deadline": _DEADLINE,
            "output": str(output),
        }
        task.write_text(json.dumps(choice))
        runs.append((_start(task, folder / f"pytest-{number}.txt"), output))
    try:
        for process, _ in runs:
            process.wait(_PROCESS_TIMEOUT)
    finally:
        for process, _ in runs:
            process.kill()
            process.wait()
    for number, (process, _) in enumerate(runs):
        if process.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            pytest.fail(f"the suite did not run:\n{(folder / f'pytest-{number}.txt').read_text()[-4000:]}")
    return [Ended(*json.loads(line)) for _, output in runs for line in output.read_text().splitlines()]


def _start(task: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, *["-O"] * sys.flags.optimize, "-m", "pytest", "-q", "--tb=short", "-rN"]
    command += ["-p", "recorder", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += [f"--timeout={_TEST_TIMEOUT}", "--timeout-method=signal", "suite_on_broken_layers.py"]
    environment = {
        **os.environ,
        "HYPOTHESIS_STORAGE_DIRECTORY": str(task.parent),
        "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]),
        "RECORDER": str(task),
    }
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, stderr=subprocess.STDOUT)
