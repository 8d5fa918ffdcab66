"""Eight processes that share nothing but the prefix, however they were started, all of them sending to all."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys

import crowd
import pytest
from processes import DEADLINE

from channel_layers.ipc import IPCChannelLayer

METHODS = ["independent", "independent", "independent", "fork", "fork", "fork", "spawn", "spawn"]


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_crowd(prefix: str) -> None:
    forked = [
        multiprocessing.get_context(method).Process(target=crowd.run, args=(prefix, number))
        for number, method in enumerate(METHODS)
        if method != "independent"
    ]
    for process in forked:
        process.start()
    started = [
        subprocess.Popen([sys.executable, crowd.__file__, prefix, str(number)])
        for number, method in enumerate(METHODS)
        if method == "independent"
    ]
    try:
        asyncio.run(_lead(prefix))
        for process in forked:
            process.join(DEADLINE)
        assert [process.exitcode for process in forked] == [0] * len(forked)
        assert [process.wait(DEADLINE) for process in started] == [0] * len(started)
    finally:
        for each in (*forked, *started):
            each.kill()
        for process in started:
            process.wait()


async def _lead(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        members = [await asyncio.wait_for(layer.receive("hello"), 60) for _ in METHODS]
        for member in members:
            await layer.send(member["to_start"], {"channels": [each["channel"] for each in members]})
        ended = [(await asyncio.wait_for(layer.receive("bye"), 60))["number"] for _ in METHODS]
        assert sorted(ended) == list(range(crowd.MEMBERS))
