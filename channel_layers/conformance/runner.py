"""Running the suite on a layer without a test file of one's own: for the command line, and for tables."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import secrets
import signal
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from .expect import Failure, fail
from .features import Features
from .suite import ChannelLayerConformance

#: The parts of the suite, in reading order.
PARTS = ChannelLayerConformance.__bases__

_TEST_FILE = """\
from channel_layers.conformance import runner

TestLayer = runner.suite_under_test
"""

# All that the user's own configuration, found in the working directory, could change is said here.
_CONFIGURATION = """\
[pytest]
asyncio_mode = strict
asyncio_default_fixture_loop_scope = function
filterwarnings = default
"""

#: Times the deadline of one step that a test may take before it is interrupted, even if it blocks its event loop.
_INTERRUPT_AFTER = 12

#: The class that the test file takes from here, while :func:`run` runs.
suite_under_test: type[ChannelLayerConformance] | None = None


@dataclass(frozen=True)
class Result:
    """What came of one test, or of one case of it."""

    part: str
    test: str
    case: str
    rule: str
    outcome: str  #: ``passed``, ``failed`` or ``skipped``
    reason: str = ""

    @property
    def name(self) -> str:
        return f"{self.test}[{self.case}]" if self.case else self.test


class Unusable(Exception):  # noqa: N818 - it says what the request is
    """The tests could not be run as they were asked for; the text says why."""


def run(
    factory: Callable[..., Any], features: Features, select: str = "", report: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Run the suite on the layers that a factory makes.

    :param factory: takes the options of a layer, and returns one; may be a coroutine function.
    :param select: which tests, as for the option ``-k`` of pytest.
    :param report: called with each result as it comes.
    :raises Unusable: if no test matches, or pytest itself fails.
    """
    global suite_under_test  # noqa: PLW0603 - pytest imports the test file, which can only look here
    body = {"features": features, "make_layer": lambda _, **options: factory(**options)}
    suite_under_test = type("TestLayer", (ChannelLayerConformance,), body)
    recorder = _Recorder(_INTERRUPT_AFTER * features.deadline, report)
    output = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, _undisturbed(folder):
        # A name that no module of the user has, and none of an earlier run.
        file, configuration = Path(folder, f"test_{secrets.token_hex(8)}.py"), Path(folder, "pytest.ini")
        file.write_text(_TEST_FILE)
        configuration.write_text(_CONFIGURATION)
        arguments = [str(file), "-c", str(configuration), "--rootdir", folder, "--noconftest", "-q"]
        # Plain tracebacks: pytest's own look at the source of each frame, which can fail where a layer nests deeply.
        arguments += ["-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin", "-k", select, "--tb=native"]
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = pytest.main(arguments, plugins=[recorder])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise Unusable(f"no test matches {select!r}")
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise Unusable(f"pytest ended with status {int(status)}:\n{output.getvalue()}")
    return recorder.results


@contextlib.contextmanager
def _undisturbed(folder: str) -> Iterator[None]:
    """Keep options and plugins out that the environment would give to pytest, and traces out of the user's folder."""
    ours = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HYPOTHESIS_STORAGE_DIRECTORY": folder}
    before = {name: os.environ.pop(name, None) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", *ours)}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Recorder:
    """A plugin that keeps the results, in the order of the parts, and interrupts what hangs."""

    def __init__(self, limit: float, report: Callable[[Result], None]) -> None:
        self.limit = limit
        self.report = report
        self.results: list[Result] = []
        self._items: dict[str, pytest.Function] = {}
        self._blocked: set[str] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        items.sort(key=lambda item: PARTS.index(_part_of(item)))
        self._items = {item.nodeid: item for item in items}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, None]:
        with _alarm(self.limit, lambda: self._blocked.add(item.nodeid)):
            yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        item = self._items[report.nodeid]
        reason = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        elif report.nodeid in self._blocked:
            reason = f"expected the layer to let go of its event loop; it was interrupted after {self.limit:g} s"
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = _without_class(str(getattr(crash, "message", report.longreprtext)))
        result = Result(
            part=_title(_part_of(item)),
            test=item.originalname,
            case=item.callspec.id if hasattr(item, "callspec") else "",
            rule=" ".join((inspect.getdoc(item.function) or "").split()),
            outcome=report.outcome,
            reason=reason,
        )
        self.results.append(result)
        self.report(result)


def _part_of(item: pytest.Function) -> type:
    return next(part for part in PARTS if item.originalname in vars(part))


def _without_class(message: str) -> str:
    return message.removeprefix(f"{Failure.__module__}.").removeprefix(f"{Failure.__name__}: ")


def _title(part: type) -> str:
    return (part.__doc__ or part.__name__).strip()


@contextlib.contextmanager
def _alarm(seconds: float, note: Callable[[], None]) -> Iterator[None]:
    """Interrupt what blocks the whole thread; only a signal can."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        note()
        raise fail(f"interrupted after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def as_json(results: list[Result], layer: str, features: Features, versions: dict[str, str]) -> dict[str, Any]:
    """All that is known of a run, as JSON can hold it."""
    return {
        "layer": layer,
        "versions": versions,
        "features": asdict(features),
        "results": [asdict(result) for result in results],
    }
