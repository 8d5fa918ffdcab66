"""The command line: ``channel-layers``, or ``python -m channel_layers``."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import platform
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .exceptions import InvalidChannelLayerError
from .extras import require_extra

if TYPE_CHECKING:
    from .conformance.runner import Result

_TEST_TOOLS = ("pytest", "pytest_asyncio", "hypothesis")


class UsageError(Exception):
    """What was asked for cannot be done; the text says what to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the status for the shell: 0 if all is well, 1 if a layer fails, 2 for a wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options))
    except (UsageError, InvalidChannelLayerError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="channel-layers", description="Tools for channel layers.")
    parser.add_argument("--version", action="version", version=f"channel-layers {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    conformance = commands.add_parser(
        "conformance",
        help="hold a channel layer against the specification",
        description="Run the conformance suite on a channel layer; exit with status 0 only if every test passes.",
    )
    conformance.add_argument("layer", help="where its class is, for example my.module.MyLayer")
    conformance.add_argument("--config", metavar="JSON", default="{}", help="options of the layer, as a JSON object")
    conformance.add_argument(
        "--features", metavar="JSON", default="{}", help="""what it claims, for example '{"cross_process": false}'"""
    )
    conformance.add_argument("-k", metavar="EXPR", default="", help="only the tests that match, as in pytest")
    conformance.add_argument("--json", metavar="FILE", type=Path, help="also write the results to a file")
    conformance.set_defaults(command=_conformance)
    return parser


def _conformance(options: argparse.Namespace) -> int:
    for tool in _TEST_TOOLS:
        require_extra(tool, "test", "channel-layers conformance")
    from .conformance import runner  # noqa: PLC0415 - it imports the test tools
    from .conformance.features import Features  # noqa: PLC0415

    config = _json_object("--config", options.config)
    try:
        features = Features.from_mapping(_json_object("--features", options.features))
    except ValueError as error:
        raise UsageError(f"--features: {error}") from error
    if options.json:
        try:
            options.json.touch()
        except OSError as error:
            raise UsageError(f"--json: cannot write {str(options.json)!r}: {error.strerror}") from error
    factory = _layer_factory(options.layer, config)
    print(f"Conformance of {options.layer}\n")
    progress = _Progress()
    try:
        results = runner.run(factory, features, options.k, progress.add)
    except runner.Unusable as error:
        raise UsageError(str(error)) from error
    progress.end_part()
    _print_details(results)
    if options.json:
        facts = runner.as_json(results, options.layer, features, _versions(options.layer))
        options.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    outcomes = Counter(result.outcome for result in results)
    print(f"\nIn all: {_counted(outcomes)}")
    return 0 if outcomes["passed"] and not outcomes["failed"] else 1


def _json_object(option: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{option} must be a JSON object, such as '{{\"name\": 1}}', not {text}")
    return value


def _layer_factory(path: str, config: dict[str, Any]) -> Callable[..., Any]:
    """What makes layers of a class with these options, once it has been seen to make one."""
    if "" not in sys.path:
        sys.path.insert(0, "")  # a script does not look in the working directory by itself
    module_path, _, name = path.rpartition(".")
    if not module_path:
        raise UsageError(f"{path!r} is no path of a class; it looks like 'my.module.MyLayer'")
    try:
        module = import_module(module_path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"cannot import {path!r}: {type(error).__name__}: {error}") from error
    layer_class = getattr(module, name, None)
    if not callable(layer_class):
        raise UsageError(f"cannot import {path!r}: {module_path} has no class {name!r}")

    def make(**options: Any) -> Any:
        return layer_class(**{**config, **options})

    async def try_it() -> None:
        layer = make()
        layer = await layer if inspect.isawaitable(layer) else layer
        if callable(getattr(layer, "close", None)):
            await layer.close()

    try:
        asyncio.run(try_it())
    except Exception as error:
        raise UsageError(f"cannot make a {path} with {config}: {type(error).__name__}: {error}") from error
    return make


def _versions(path: str) -> dict[str, str]:
    """Of Python, of this package, and of the distribution that the layer comes from, if it is installed."""
    versions = {"Python": platform.python_version(), "channel_layers": __version__}
    for name in metadata.packages_distributions().get(path.partition(".")[0], ()):
        versions.setdefault(name, metadata.version(name))
    return versions


class _Progress:
    """A line for each part of the suite, printed when the part has ended."""

    def __init__(self) -> None:
        self._part = ""
        self._outcomes: Counter[str] = Counter()
        self._out = sys.stdout  # the suite runs with another one

    def add(self, result: Result) -> None:
        if result.part != self._part:
            self.end_part()
            self._part = result.part
        self._outcomes[result.outcome] += 1

    def end_part(self) -> None:
        if self._part:
            print(f"  {self._part:<30} {_counted(self._outcomes)}", file=self._out, flush=True)
        self._outcomes.clear()


def _print_details(results: list[Result]) -> None:
    failed = [result for result in results if result.outcome == "failed"]
    if failed:
        print("\nFailed:")
    for result in failed:
        print(f"\n  {result.part}: {result.name}\n    {result.rule}")
        for line in result.reason.splitlines()[:12]:
            print(f"    > {line}")
    reasons = Counter((result.reason, result.part) for result in results if result.outcome == "skipped")
    if reasons:
        print("\nSkipped:")
    for (reason, part), count in reasons.items():
        print(f"  {part}: {count} - {reason}")


def _counted(outcomes: Counter[str]) -> str:
    return ", ".join(f"{outcomes[kind]} {kind}" for kind in ("passed", "failed", "skipped") if outcomes[kind])
