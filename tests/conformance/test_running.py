"""What runs with a deadline says what was expected of it, whatever it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from channel_layers.conformance.running import within


async def never() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("late", [never, lambda: asyncio.gather(never(), never()), lambda: asyncio.shield(never())])
def test_what_is_late_fails_with_what_was_expected(late: Callable[[], Awaitable[Any]]) -> None:
    async def wait() -> None:
        await within(0.01, late(), "it comes")

    with pytest.raises(AssertionError, match=r"expected within 0\.01 s: it comes"):
        asyncio.run(wait())
