"""The file system of the shared memory, as tests look at it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from channel_layers.ipc.site import _FOLDER, Site

SHARED = Path(_FOLDER)


def remains(prefix: str) -> list[str]:
    """The names that a prefix has in the file system of the shared memory."""
    return sorted(path.name for path in SHARED.glob(Site(prefix).base[1:] + "*"))


def unavailable(reason: str) -> NoReturn:
    """Skip on a desk that lacks a tool; fail where its absence would hide that nothing was tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)
