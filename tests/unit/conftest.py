"""What all tests share: nothing but how long a wait may take."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

DEADLINE = 10.0


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until a predicate holds; fail when the deadline passes."""

    def wait(predicate: Callable[[], object]) -> None:
        end = time.monotonic() + DEADLINE
        while not predicate():
            if time.monotonic() > end:
                pytest.fail(f"{predicate} did not hold within {DEADLINE} seconds")
            time.sleep(0.001)

    return wait
