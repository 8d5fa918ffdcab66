"""The thread for all layers of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

WAITING = """
import os, signal
from channel_layers.background import in_background

async def begin():
    pass

def tell(number, frame):
    print("handled", flush=True)

signal.signal(signal.SIGTERM, tell)
in_background(begin()).result()
sigterm = {signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, sigterm)  # as if the main thread did not run: some other has to take it
os.kill(os.getpid(), signal.SIGTERM)
in_background(begin()).result()  # time enough for that
print("waits" if sigterm <= signal.sigpending() else "is taken", flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, sigterm)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals interrupt no thread there")
def test_signals_wait_for_the_main_thread() -> None:
    """In another they would interrupt nothing: Ctrl-C would do nothing as long as the main thread waits."""
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, check=False)
    assert (done.stdout.split("\n"), done.stderr) == (["waits", "handled", ""], "")
