"""The suite where the tools are missing that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from channel_layers import conformance


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_what_is_missing_comes_with_its_pip_install_line(missing: str) -> None:
    program = f"""
import sys
sys.modules[{missing!r}] = None
import channel_layers.conformance
from channel_layers.conformance import Features
from channel_layers import InvalidChannelLayerError
print(Features(fork=False).fork)
try:
    from channel_layers.conformance import ChannelLayerConformance
except InvalidChannelLayerError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"False\nChannelLayerConformance needs {missing!r}, which is not installed: "
        "pip install 'channel_layers[test]'\n"
    )


def test_the_public_names_are_there() -> None:
    names: dict[str, type] = {}
    exec("from channel_layers.conformance import *", names)
    assert names["ChannelLayerConformance"] is conformance.ChannelLayerConformance
    assert names["Features"] is conformance.Features
    assert not hasattr(conformance, "Conformance")
