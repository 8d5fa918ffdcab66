"""A pytest plugin for runs of the conformance suite inside a test: it says what to run, and writes down how it ended.

``RECORDER`` in the environment names a JSON file: ``output`` is the file to write, a JSON line for each test that
ended; ``shall_fail`` and ``shall_pass`` map the names of layers to the names of tests; ``deadline`` is the deadline of
those that shall fail.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

task: dict[str, Any] = json.loads(Path(os.environ["RECORDER"]).read_text())


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call" and report.passed:
        return
    _, suite, test = report.nodeid.split("::")
    layer = suite.removeprefix("Test").removeprefix("TheRestOf")
    outcome = report.outcome if report.when == "call" or report.skipped else "error"
    text = "" if report.passed else str(report.longrepr)
    with Path(task["output"]).open("a") as output:
        print(json.dumps([layer, test, outcome, text, report.duration]), file=output)
