"""The in-memory layer under the conformance suite, in every way in which the suite can be run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer

_A_STRANGERS_TESTS = """\
from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer


class TestMine(ChannelLayerConformance):
    features = Features(cross_process=False)

    async def make_layer(self, **config):
        return InMemoryChannelLayer(**config)
"""

_AUTO_MODE = """\
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

_A_LAYER_THAT_DOUBLES = """\
from channel_layers.memory import InMemoryChannelLayer


class Doubling(InMemoryChannelLayer):
    async def send(self, channel, message):
        await super().send(channel, message)
        await super().send(channel, message)
"""

_ALONE = json.dumps({"cross_process": False})


class TestMemory(ChannelLayerConformance):
    features = Features(cross_process=False)

    def make_layer(self, **config: Any) -> InMemoryChannelLayer:
        return InMemoryChannelLayer(**config)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this Python in a folder."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_the_suite_in_auto_mode(tmp_path: Path) -> None:
    """With an asynchronous ``make_layer``, and with every warning an error."""
    (tmp_path / "pytest.ini").write_text(_AUTO_MODE)
    (tmp_path / "test_mine.py").write_text(_A_STRANGERS_TESTS)
    ended = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
    assert "warning" not in ended.stdout


def test_the_suite_on_the_command_line(tmp_path: Path) -> None:
    layer = "channel_layers.memory.InMemoryChannelLayer"
    options = ["--config", '{"expiry": 30}', "--features", _ALONE, "--json", "results.json"]
    ended = run(tmp_path, "-m", "channel_layers", "conformance", layer, *options)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    facts = json.loads((tmp_path / "results.json").read_text())
    assert facts["layer"] == layer
    assert facts["features"]["cross_process"] is False
    assert facts["versions"].keys() >= {"Python", "channel_layers"}
    tests = {result["test"] for result in facts["results"]}
    assert tests == {name for name in dir(ChannelLayerConformance) if name.startswith("test_")}
    assert {result["outcome"] for result in facts["results"]} == {"passed", "skipped"}
    reasons = [result["reason"] for result in facts["results"] if result["outcome"] == "skipped"]
    assert all(reason.startswith("not claimed: ") for reason in reasons)
    assert all(reason in ended.stdout for reason in reasons)


def test_a_broken_layer_fails_even_without_assertions(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(_A_LAYER_THAT_DOUBLES)
    command = ["-m", "channel_layers", "conformance", "mine.Doubling", "--features", _ALONE]
    ended = run(tmp_path, "-O", *command, "-k", "test_never_more_than_once or test_a_message_arrives")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "no message is delivered twice" in ended.stdout
    assert "expected nothing on" in ended.stdout


def test_every_rule_is_written_down() -> None:
    """Each test says which heading of the specification it stands under."""
    for name in dir(ChannelLayerConformance):
        if name.startswith("test_"):
            rule = getattr(ChannelLayerConformance, name).__doc__ or ""
            assert rule.startswith("*"), f"{name} names no heading"
            assert rule.rstrip().endswith("."), f"{name} has no sentence"
