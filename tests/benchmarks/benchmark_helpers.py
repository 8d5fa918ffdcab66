"""What the tests of the benchmark share."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil

import pytest
import stand_in_layers

from benchmarks.contenders import Contender
from benchmarks.figures import Figure
from benchmarks.measure import Comparison, Series


def require(module: str) -> None:
    """A missing tool skips on a laptop; in CI it would hide that nothing was tested."""
    if importlib.util.find_spec(module) is None:
        _give_up(f"{module} is not installed: pip install -e '.[bench,docs]'")


def require_redis() -> None:
    if shutil.which("redis-server") is None:
        _give_up("redis-server is not installed")
    require("channels_redis")
    require("hiredis")


def _give_up(reason: str) -> None:
    give_up = pytest.fail if os.environ.get("CI") else pytest.skip
    give_up(reason)


def stand_in(layer_class: type = stand_in_layers.CorrectLayer, **options: object) -> Contender:
    """A contender beside a correct peer."""
    peer = Contender("peer", "stand_in_layers.CorrectLayer", config={})
    options = {"config": {}, "peer": peer, **options}
    return Contender("ours", f"stand_in_layers.{layer_class.__name__}", **options)


def comparison(ours: list[float], theirs: list[float], figure: str = "pingpong", target: float = 3) -> Comparison:
    """Of a rate; only pingpong has a target."""
    contender = stand_in(targets={"pingpong": target})
    return Comparison(contender, contender.peer, Figure(figure, figure), Series(tuple(ours)), Series(tuple(theirs)))


def cells(table: str) -> list[list[str]]:
    """The rows of a table, without rules and head."""
    return [re.split(r"\s{2,}", line) for line in table.splitlines() if line and not line.startswith("=")][1:]


def check_rst(text: str) -> None:
    require("docutils")
    from docutils.core import publish_doctree

    publish_doctree(text, settings_overrides={"report_level": 1, "halt_level": 1})
