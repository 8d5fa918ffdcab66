"""How long one waits for a lock of the IPC layer that another process holds."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from channel_layers.ipc.locks import BUSY, keep_trying


@pytest.mark.asyncio
class TestKeepTrying:
    async def test_gives_up(self) -> None:
        looks = itertools.count()

        def attempt() -> object:
            next(looks)
            return BUSY

        assert await keep_trying(attempt) is BUSY
        assert next(looks) > 1

    async def test_a_waiter_that_the_machine_does_not_let_run_has_not_waited(self) -> None:
        looks = itertools.count(1)

        def attempt(wanted: int) -> object:
            time.sleep(0.06)  # the machine does something else, and so does the holder
            return "done" if next(looks) == wanted else BUSY

        assert await keep_trying(attempt, 6) == "done"

    async def test_lets_others_run(self) -> None:
        loop, turns = asyncio.get_running_loop(), 0

        def count() -> None:
            nonlocal turns
            turns += 1

        def attempt() -> object:
            loop.call_soon(count)
            return BUSY if turns < 3 else "done"

        assert await keep_trying(attempt) == "done"
