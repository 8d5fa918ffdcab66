"""A program in a process that has a file system of shared memory of its own, of any size."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from shared_memory import unavailable


def run_in_small_memory(size: str, program: str) -> None:
    """Run a program to its end; it must end well."""
    if not shutil.which("unshare"):
        unavailable("no unshare on the PATH, to mount a file system of its own")
    apart = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-r", "-m"]
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {sys.executable} -"
    done = subprocess.run(
        [*apart, "sh", "-c", mount], input=program, capture_output=True, text=True, timeout=30, check=False
    )
    if "permitted" in done.stderr or "denied" in done.stderr:
        unavailable(f"may not mount: {done.stderr}")
    assert done.returncode == 0, done.stderr
