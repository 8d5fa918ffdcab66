"""An application written on the public names alone runs without a warning, and passes mypy's strict mode."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).with_name("user_app.py")


def test_it_runs() -> None:
    done = subprocess.run([sys.executable, "-W", "error", APP], capture_output=True, text=True, check=True)
    assert done.stdout == "['hello', 'hello', 'hello', '0']\n"


def test_it_is_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", APP]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
