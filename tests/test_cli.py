"""The command line: what it says when it is used wrongly, and that nothing around it disturbs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from channel_layers import __version__
from channel_layers.cli import main

MEMORY = "channel_layers.memory.InMemoryChannelLayer"


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "channel_layers", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"channel-layers {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["conform"], ["conformance"], ["conformance", MEMORY, "--colour"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: channel-layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["MyLayer"], "'MyLayer' is no path of a class; it looks like 'my.module.MyLayer'"),
        (["no.such.module.Layer"], "cannot import 'no.such.module.Layer': ModuleNotFoundError: No module named 'no'"),
        (["channel_layers.memory.Layer"], "channel_layers.memory has no class 'Layer'"),
        ([MEMORY, "--config", "{expiry: 5}"], "--config: '{expiry: 5}' is not JSON"),
        ([MEMORY, "--config", "[5]"], "--config must be a JSON object"),
        ([MEMORY, "--config", '{"expiri": 5}'], "InMemoryChannelLayer has no option 'expiri'"),
        ([MEMORY, "--config", '{"capacity": 0}'], "capacity must be a whole number of messages"),
        ([MEMORY, "--features", "yes"], "--features: 'yes' is not JSON"),
        ([MEMORY, "--features", "true"], "--features must be a JSON object"),
        ([MEMORY, "--features", '{"fast": true}'], "there is no feature 'fast'; the features are cross_process, "),
        ([MEMORY, "--features", '{"flush": "no"}'], "feature 'flush' must be true or false or null, not 'no'"),
        ([MEMORY, "--features", '{"capacity": "all"}'], 'feature \'capacity\' must be "channel" or "process" or null'),
        ([MEMORY, "--features", '{"deadline": 0}'], "feature 'deadline' must be a number of seconds above 0, not 0"),
        (
            [MEMORY, "--json", "no/such/file.json"],
            "--json: cannot write 'no/such/file.json': No such file or directory",
        ),
    ],
)
def test_usage_errors(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("channel-layers: error: ")
    assert says in error


@pytest.mark.parametrize("tool", ["pytest", "pytest_asyncio", "hypothesis"])
def test_a_missing_tool(tool: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, tool, None)
    assert main(["conformance", MEMORY]) == 2
    error = capsys.readouterr().err
    assert f"needs {tool!r}, which is not installed: pip install 'channel_layers[test]'" in error


def test_importing_the_command_line_needs_no_test_tool(tmp_path: Path) -> None:
    code = "import sys; sys.modules.update(pytest=None, hypothesis=None); from channel_layers.cli import main; main([])"
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "usage: channel-layers" in ended.stderr


@pytest.mark.parametrize("expression", ["no_such_test", "(not"])
def test_nothing_to_run(expression: str, tmp_path: Path) -> None:
    ended = run(tmp_path, "conformance", MEMORY, "-k", expression)
    assert ended.returncode == 2
    assert expression in ended.stderr


def test_a_layer_in_the_working_directory(tmp_path: Path) -> None:
    """Neither the pytest configuration there nor that of the environment has a say."""
    (tmp_path / "mine.py").write_text("from channel_layers.memory import InMemoryChannelLayer as Mine\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\nasyncio_mode = auto\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('this is not for the suite')\n")
    arguments = [
        "mine.Mine",
        "--features",
        '{"cross_process": false}',
        "-k",
        "attribute or order",
        "--json",
        "out.json",
    ]
    ended = run(tmp_path, "conformance", *arguments, PYTEST_ADDOPTS="--no-such-option", PYTEST_PLUGINS="no_such_plugin")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Specification details" in ended.stdout
    results = json.loads((tmp_path / "out.json").read_text())["results"]
    assert results
    assert {result["outcome"] for result in results} == {"passed"}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "__pycache__") == [
        "conftest.py",
        "mine.py",
        "out.json",
        "pytest.ini",
    ]


def test_a_layer_that_fails(tmp_path: Path) -> None:
    """Each failure names its part, its rule and what was expected; the status is 1."""
    (tmp_path / "mine.py").write_text(
        "from channel_layers.memory import InMemoryChannelLayer\n"
        "class Mine(InMemoryChannelLayer):\n"
        "    extensions = ('groups',)\n"
        "async def make(**config):\n"
        "    return Mine(**config)\n"
    )
    ended = run(tmp_path, "conformance", "mine.make", "--features", '{"cross_process": false}', "-k", "extensions")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Specification details: test_extensions_are_a_list_of_names" in ended.stdout
    assert "the attribute extensions is a list of strings" in ended.stdout
    assert "> expected layer.extensions to be a list, it is ('groups',)" in ended.stdout
    assert "In all: 1 failed" in ended.stdout


def test_a_layer_that_blocks_its_loop(tmp_path: Path) -> None:
    """A send that never returns and never lets go is interrupted."""
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "from channel_layers.memory import InMemoryChannelLayer\n"
        "class Mine(InMemoryChannelLayer):\n"
        "    async def send(self, channel, message):\n"
        "        while True:\n"
        "            time.sleep(0.01)\n"
    )
    features = '{"cross_process": false, "deadline": 0.1}'
    ended = run(tmp_path, "conformance", "mine.Mine", "--features", features, "-k", "test_a_message_arrives")
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "expected the layer to let go of its event loop" in ended.stdout
