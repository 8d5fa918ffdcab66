"""A redis-server of our own: a free port, nothing kept on disk, gone with the block."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
START_SECONDS = 10.0


def system_program(name: str) -> str | None:
    """The path of a program; not of one that a wheel has put beside Python, if the system has its own."""
    scripts = Path(sysconfig.get_path("scripts"))
    folders = [folder for folder in os.get_exec_path() if Path(folder) != scripts]
    return shutil.which(name, path=os.pathsep.join(folders)) or shutil.which(name)


@contextmanager
def private_redis() -> Iterator[Mapping[str, Any]]:
    """Yield what leads a Redis layer to the server."""
    port = free_port()
    options = ["--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        program = system_program("redis-server") or "redis-server"
        server = subprocess.Popen([program, *options, "--dir", folder], stdout=subprocess.DEVNULL)
        try:
            wait_until_it_answers(server, port)
            yield {"hosts": [(HOST, port)]}
        finally:
            server.terminate()
            server.wait()


@contextmanager
def three_private_redis() -> Iterator[Mapping[str, Any]]:
    """The same with three servers, over which the layer spreads its names."""
    with ExitStack() as stack:
        servers = [stack.enter_context(private_redis()) for _ in range(3)]
        yield {"hosts": [host for server in servers for host in server["hosts"]]}


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1) as probe:
            probe.sendall(b"PING\r\n")
            if probe.recv(64) == b"+PONG\r\n":
                return
        time.sleep(0.01)
    raise RuntimeError(f"redis-server does not answer on port {port}")
