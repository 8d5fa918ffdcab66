"""A prefix of its own for each test, of which nothing may be left."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from shared_memory import SHARED, remains


@pytest.fixture
def prefix() -> Iterator[str]:
    """A prefix that nobody else uses. Nothing may be left of it when the test ends."""
    name = f"test{secrets.token_hex(6)}"
    yield name
    left = remains(name)
    for each in left:
        (SHARED / each).unlink(missing_ok=True)
    assert left == [], "something is left in the shared memory"
