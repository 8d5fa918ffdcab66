"""What the tests of shared memory have in common: a prefix of their own, and a look at what is left behind."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from channel_layers.ipc.site import _FOLDER, Site

SHARED = Path(_FOLDER)


def remains(prefix: str) -> list[str]:
    """The names that a prefix has in the file system of the shared memory."""
    return sorted(path.name for path in SHARED.glob(Site(prefix).base[1:] + "*"))


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix that nobody else uses. Nothing may be left of it when the test ends."""
    name = f"test{secrets.token_hex(6)}"
    yield name
    left = remains(name)
    for each in left:
        (SHARED / each).unlink(missing_ok=True)
    assert left == [], "something is left in the shared memory"
