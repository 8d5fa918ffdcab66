"""A vigil keeps an event loop awake for a moment, and never for longer. What time it is, the test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from channel_layers.redis import vigil
from channel_layers.redis.vigil import LONGEST, Vigil

STEP = LONGEST / 8


class Clock:
    """Time goes on by a step with each look."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        self.now += STEP
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(vigil, "monotonic", clock)
    monkeypatch.setattr(vigil, "_HAS_PROCESSORS", True)
    return clock


async def turns_until_it_ends(kept: Vigil) -> int:
    turns = 0
    while kept._loop is not None:
        turns += 1
        assert turns < 100, "it keeps the loop awake for ever"
        await asyncio.sleep(0)
    return turns


async def keep(kept: Vigil) -> int:
    kept.keep(asyncio.get_running_loop())
    return await turns_until_it_ends(kept)


@pytest.mark.asyncio
async def test_it_is_kept_for_what_follows_at_once(clock: Clock) -> None:
    kept = Vigil([])
    assert await keep(kept) == 0, "the first message, whose answer nobody can know to come soon"
    assert await keep(kept) > 0
    clock.now += LONGEST
    assert await keep(kept) == 0, "the answer may have taken that long"
    assert await keep(kept) > 0


@pytest.mark.asyncio
async def test_it_ends_though_no_answer_comes() -> None:
    kept = Vigil([object()])
    await keep(kept)
    assert 4 < await keep(kept) < 12


@pytest.mark.asyncio
async def test_it_ends_soon_after_the_answer() -> None:
    owed = [object()]
    kept = Vigil(owed)
    await keep(kept)
    kept.keep(asyncio.get_running_loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert kept._loop is not None
    owed.clear()
    assert await turns_until_it_ends(kept) == 3


@pytest.mark.asyncio
async def test_messages_in_a_row_have_one_vigil() -> None:
    turns = 0

    class CountingLoop:
        def call_soon(self, call: Any, *args: Any) -> None:
            nonlocal turns
            turns += 1

    loop: Any = CountingLoop()
    kept = Vigil([object()])
    for _ in range(5):
        kept.keep(loop)
    assert turns == 1


def test_it_ends_in_a_loop_that_the_connection_has_left() -> None:
    kept = Vigil([object()])
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    kept.keep(first)
    kept.keep(first)
    assert kept._loop is first
    second.run_until_complete(keep_in_another(kept))
    first.run_until_complete(asyncio.sleep(0))
    assert kept._loop is None, "what the first loop still had to do is not taken for the second's"
    first.close()
    second.close()


async def keep_in_another(kept: Vigil) -> None:
    assert await keep(kept) > 0


@pytest.mark.asyncio
async def test_with_one_processor_nobody_stays_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "_HAS_PROCESSORS", False)
    kept = Vigil([object()])
    assert [await keep(kept) for _ in range(3)] == [0, 0, 0]
