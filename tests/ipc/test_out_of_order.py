"""Where a processor may show the stores of others out of their order, whatever consists of more than one word is looked
at under a lock. (That they are seen out of order cannot be had here; that the lock is held can.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from processes import DEADLINE

from channel_layers.ipc import IPCChannelLayer, client, door, inbox, segment, site, turns
from channel_layers.ipc.counters import Counters
from channel_layers.ipc.directory import Directory

LOOKS = [(Directory, "clients"), (Directory, "normals"), (Counters, "forget_flushed")]


@pytest.mark.asyncio
async def test_looks_are_under_a_lock(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer, IPCChannelLayer(prefix=prefix) as other:
        here, seen = layer._client.site, []

        def watched(name: str, look: Callable[..., Any]) -> Callable[..., Any]:
            def work(*arguments: Any) -> Any:
                assert here.locks.is_inside, f"{name} without a lock"
                seen.append(name)
                return look(*arguments)

            return work

        for module in (client, door, inbox, site, turns):
            monkeypatch.setattr(module, "IN_ORDER", False)
        for kind, name in LOOKS:
            monkeypatch.setattr(kind, name, watched(name, getattr(kind, name)))

        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        await layer.group_add("room", "work")
        await other.send(channel, {"n": 0})
        await other.group_send("room", {"n": 1})
        assert [(await layer.receive(channel))["n"] for _ in range(2)] == [0, 1]
        assert await layer.receive("work") == {"n": 1}

        await other.send(channel, {"n": 2})
        assert layer.statistics().unread == 1
        await other.flush()
        await other.send(channel, {"n": 3})
        assert await asyncio.wait_for(layer.receive(channel), DEADLINE) == {"n": 3}
        await other.send(channel, {"n": 4})
        assert layer.statistics().unread == 1
        await other.flush()
        assert layer.statistics().unread == 0
        await layer.flush()
        assert {*seen} == {name for _, name in LOOKS}


@pytest.mark.parametrize("word", [1, 2, 3])
def test_a_header_of_which_only_the_last_word_is_seen(prefix: str, word: int) -> None:
    """Who builds a layer looks at a directory that somebody makes in this moment."""
    here = site.Site(prefix)
    made = segment.create(f"{here.base}-d", 4096, 0o600)
    made.finish(1)
    made.words[word] = 0
    IPCChannelLayer(prefix=prefix)
    segment.unlink(f"{here.base}-d")
