"""Where the numbers were made. No host name: the page is published."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from benchmarks.contenders import Contender
from benchmarks.redis_server import system_program


def machine_facts() -> dict[str, str]:
    return {
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Operating system": f"{_operating_system()}, {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def package_versions(contenders: Iterable[Contender]) -> dict[str, str]:
    """Of every distribution that takes part, in order of appearance."""
    layers = [layer for contender in contenders for layer in contender.pair]
    return {package: _version(package) for layer in layers for package in layer.packages}


def program_versions(contenders: Iterable[Contender]) -> dict[str, str]:
    layers = [layer for contender in contenders for layer in contender.pair]
    return {program: _program_version(program) for layer in layers for program in layer.programs}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from the checkout, not installed"


def _program_version(program: str) -> str:
    said = subprocess.run(
        [system_program(program) or program, "--version"], capture_output=True, text=True, check=True
    ).stdout
    number = re.search(r"\d+(\.\d+)+", said)
    return number.group() if number else said.strip()


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"


def _operating_system() -> str:
    with suppress(OSError):
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    return platform.platform(terse=True)
