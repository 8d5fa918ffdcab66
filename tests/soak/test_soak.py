"""The soak holds over a good layer, and finds out bad ones."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.redis_server import system_program
from soak import run
from soak.checks import Once, Order
from soak.sites import RedisQueues

HERE = Path(__file__).parent


@pytest.fixture
def short_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    if system_program("redis-server") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("redis-server is not installed")
    monkeypatch.setattr(run, "_PHASE", 4.0)
    # Workers are other processes, which find the layers by this path.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))


def problems(kind: type[RedisQueues], seconds: float = 0.0) -> list[str]:
    """What is wrong at the end of the first phase; while nothing is, of the next, for so many seconds."""
    with kind() as site:
        return run.Run(site, 7, 2, time.monotonic() + seconds).go()


def site_of(name: str) -> type[RedisQueues]:
    return type(name, (RedisQueues,), {"backend": f"layers_that_fail.{name}", "faults": ()})


@pytest.mark.usefixtures("short_phases")
def test_a_layer_that_keeps_the_contract() -> None:
    assert problems(RedisQueues) == []


@pytest.mark.usefixtures("short_phases")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Doubling", "twice"),
        ("Forgetting", "1 times less than it should"),
        ("Clinging", "1 times more than it should"),
    ],
)
def test_a_layer_that_does_not(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "DEADLINE", 3.0)
    monkeypatch.setenv("SOAK_DEADLINE", "3")  # of the workers
    assert text in "\n".join(problems(site_of(name), 60))  # a busy machine does little in one phase


def test_order() -> None:
    order = Order()
    by_one = [{"by": "one", "lane": "direct", "n": n} for n in range(4)]
    assert order.problem_with("c", by_one[1]) is None
    assert order.problem_with("c", by_one[3]) is None
    assert "twice" in (order.problem_with("c", by_one[3]) or "")
    assert "after 3" in (order.problem_with("c", by_one[2]) or "")
    assert order.problem_with("c", {**by_one[2], "by": "two"}) is None
    assert order.problem_with("c", {**by_one[2], "lane": "room"}) is None


def test_once() -> None:
    once = Once()
    assert once.problem_with("jobs", "one", 1) is None
    assert once.problem_with("jobs", "two", 1) is None
    assert once.problem_with("jobs", "one", 2) is None
    assert "twice" in (once.problem_with("jobs", "one", 1) or "")
