"""Random steps on two layer objects that share one Redis, each step compared with a small model.

The suite's machine lets one object send and the other receive. Here both do everything: each has channels of its own,
either sends to, adds, discards and flushes what belongs to the other, and either may be closed and used again.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from redis_servers import DEADLINE, RedisServer, wait_until
from two_layers_model import CAPACITY, OWNERS, Model

from channel_layers import ChannelFull, LayerClosed
from channel_layers.conformance.running import within
from channel_layers.redis import RedisChannelLayer

LAYERS = st.integers(0, 1)
#: Two of the first layer, two of the second, two normal ones.
CHANNELS = st.integers(0, 5)
NORMAL = st.integers(4, 5)
GROUPS = st.integers(0, 1)


class TwoLayers(RuleBasedStateMachine):
    """The steps. Between two of them everything settles: what was sent has arrived where it is read."""

    server: ClassVar[RedisServer]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.prefix = f"test{secrets.token_hex(6)}"
        self.layers = [
            RedisChannelLayer([self.server.address], prefix=self.prefix, capacity=CAPACITY) for _ in range(2)
        ]
        # Not new_channel(), which begins to read: so that there are layers that do not.
        owners = [self.layers[number] for number in (0, 0, 1, 1)]
        self.names = [owner._new_name("specific", owner._client.id) for owner in owners] + ["jobs.1", "jobs.2"]
        self.groups = ["room.1", "room.2"]

    def let_read(self, layer: int) -> None:
        """If that frees places: otherwise it may well read first when it has to."""
        if self.model.sides[layer].frees_when_it_reads:
            self.run(self._cancel_a_receive(layer, 2 * layer, 1, 0, 0))
            self.settle()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """In the loop of the layers, while this machine runs in another thread."""
        limited = within(DEADLINE, work, "a step ends")
        return asyncio.run_coroutine_threadsafe(limited, self.loop).result(2 * DEADLINE)

    def teardown(self) -> None:
        try:
            for layer in (0, 1):
                self.let_read(layer)
            for layer in (0, 1):
                self.run(self._receive_what_is_there(layer))
            self.settle()
        finally:
            for each in self.layers:
                self.run(each.close())

    async def _receive_what_is_there(self, layer: int) -> None:
        for channel, owner in enumerate(OWNERS):
            if owner in (layer, None):
                self.model.start_reading(self.model.sides[layer])
                waiting = asyncio.create_task(self.layers[layer].receive(self.names[channel]))
                if not self.model.unread[channel]:
                    await self._send(1 - layer, channel)
                assert await waiting == self.model.take(layer, channel)
                while self.model.unread[channel]:
                    assert await self.layers[layer].receive(self.names[channel]) == self.model.take(layer, channel)

    # Settling

    def settle(self) -> None:
        wait_until(self._has_settled, self._difference, DEADLINE)

    def _has_settled(self) -> bool:
        for layer in self.layers:
            counts = layer.statistics()
            assert counts.sent == counts.accepted + sum(counts.refused.values())
            assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread
        return all(self._counts(layer) == self.model.statistics(layer) for layer in (0, 1)) and self._server_knows()

    def _counts(self, layer: int) -> dict[str, Any]:
        counts = self.layers[layer].statistics()
        return {**vars(counts), "dropped": {reason: count for reason, count in counts.dropped.items() if count}}

    def _server_knows(self) -> bool:
        """Whether it holds what was given back to normal channels, and who is full with messages of groups."""
        client = self.server.client()
        for channel in (4, 5):
            if client.llen(f"{self.prefix}:cl1:queue:{self.names[channel]}") != len(self.model.unread[channel]):
                return False
        for channel in range(4):
            if self.model.is_full(channel) and self.model.holds_group_messages(channel):
                key = f"{self.prefix}:cl1:unread:{self.layers[OWNERS[channel] or 0].client_prefix}"
                if int(client.hget(key, self.names[channel]) or 0) < CAPACITY:
                    return False
        return True

    def _difference(self) -> str:
        lines = [f"{self._counts(layer)} is {self.model.statistics(layer)}" for layer in (0, 1)]
        return "\n".join([*lines, f"the server knows of it: {self._server_knows()}"])

    # Steps

    @rule(sender=LAYERS, channel=CHANNELS)
    def send(self, sender: int, channel: int) -> None:
        self.run(self._send(sender, channel))
        self.settle()

    async def _send(self, sender: int, channel: int) -> None:
        message = self.model.next_message()
        if self.model.is_full(channel):
            with pytest.raises(ChannelFull):
                await self.layers[sender].send(self.names[channel], message)
        else:
            await self.layers[sender].send(self.names[channel], message)
        self.model.send(sender, channel)

    @rule(channel=CHANNELS, senders=st.lists(LAYERS, min_size=2, max_size=6))
    def send_many(self, channel: int, senders: list[int]) -> None:
        """One after the other, by both, without a pause; messages of groups are counted where they arrive, so they
        would have to arrive first."""
        if not self.model.holds_group_messages(channel):
            self.run(self._send_many(channel, senders))
            self.settle()

    async def _send_many(self, channel: int, senders: list[int]) -> None:
        for sender in senders:
            await self._send(sender, channel)

    @rule(receiver=LAYERS, channel=CHANNELS)
    def receive(self, receiver: int, channel: int) -> None:
        receiver = self._may_receive(receiver, channel)
        self.let_read(receiver)
        self.run(self._receive(receiver, channel))
        self.settle()

    def _may_receive(self, receiver: int, channel: int) -> int:
        owner = OWNERS[channel]
        return receiver if owner is None else owner

    async def _receive(self, receiver: int, channel: int) -> None:
        waiting = asyncio.create_task(self.layers[receiver].receive(self.names[channel]))
        self.model.start_reading(self.model.sides[receiver])
        if not self.model.unread[channel]:
            await asyncio.sleep(0)
            assert not waiting.done()
            await self._send(1 - receiver, channel)
        assert await waiting == self.model.take(receiver, channel)

    @rule(channel=CHANNELS, sender=LAYERS)
    def receive_and_send_at_once(self, channel: int, sender: int) -> None:
        """As many as the channel holds, and at once as many again: the places are free as soon as they are free."""
        if not self.model.holds_group_messages(channel):
            receiver = self._may_receive(1 - sender, channel)
            self.let_read(receiver)
            self.run(self._receive_and_send(receiver, channel, sender))
            self.settle()

    async def _receive_and_send(self, receiver: int, channel: int, sender: int) -> None:
        while self.model.unread[channel]:
            await self._receive(receiver, channel)
        for _ in range(CAPACITY + 1):
            await self._send(sender, channel)

    @rule(receiver=LAYERS, channel=CHANNELS, turns=st.integers(0, 12), sends=st.integers(0, 2), sender=LAYERS)
    def cancel_a_receive(self, receiver: int, channel: int, turns: int, sends: int, sender: int) -> None:
        receiver = self._may_receive(receiver, channel)
        self.let_read(receiver)
        self.run(self._cancel_a_receive(receiver, channel, turns, sends, sender))
        self.settle()

    async def _cancel_a_receive(self, receiver: int, channel: int, turns: int, sends: int, sender: int) -> None:
        waiting = asyncio.create_task(self.layers[receiver].receive(self.names[channel]))
        for _ in range(turns):
            await asyncio.sleep(0)
        if turns or sends:
            self.model.start_reading(self.model.sides[receiver])
        for _ in range(sends):
            # Of a normal channel, the message may be on its way to the receiver, and so in no place: room for it stays.
            if len(self.model.unread[channel]) < CAPACITY - 1 and not self.model.holds_group_messages(channel):
                await self._send(sender, channel)
        waiting.cancel()
        await asyncio.wait({waiting})
        if not waiting.cancelled():
            assert waiting.result() == self.model.take(receiver, channel)

    @rule(channel=NORMAL)
    def both_receive(self, channel: int) -> None:
        """Each takes one; which one, is open."""
        self.run(self._both_receive(channel))
        self.settle()

    async def _both_receive(self, channel: int) -> None:
        waiting = [asyncio.create_task(layer.receive(self.names[channel])) for layer in self.layers]
        for side in self.model.sides:
            self.model.start_reading(side)
        while len(self.model.unread[channel]) < 2:
            await self._send(0, channel)
        got = [await one for one in waiting]
        wanted = [self.model.take(layer, channel) for layer in (0, 1)]
        assert got in (wanted, wanted[::-1])

    @rule(layer=LAYERS, group=GROUPS, channel=CHANNELS)
    def group_add(self, layer: int, group: int, channel: int) -> None:
        self.run(self.layers[layer].group_add(self.groups[group], self.names[channel]))
        if OWNERS[channel] == layer:
            self.model.start_reading(self.model.sides[layer])
        self.model.members[group].add(channel)
        self.settle()

    @rule(layer=LAYERS, group=GROUPS, channel=CHANNELS)
    def group_discard(self, layer: int, group: int, channel: int) -> None:
        self.run(self.layers[layer].group_discard(self.groups[group], self.names[channel]))
        self.model.members[group].discard(channel)
        self.settle()

    @rule(sender=LAYERS, group=GROUPS)
    def group_send(self, sender: int, group: int) -> None:
        self.run(self._group_send(sender, group))
        self.settle()

    async def _group_send(self, sender: int, group: int) -> None:
        await self.layers[sender].group_send(self.groups[group], self.model.next_message())
        self.model.group_send(sender, group)

    @rule(layer=LAYERS, group=GROUPS, channel=CHANNELS, steps=st.lists(st.integers(0, 2), min_size=2, max_size=8))
    def join_send_leave(self, layer: int, group: int, channel: int, steps: list[int]) -> None:
        """Without a pause: a message reaches who was a member when it was sent."""
        self.run(self._join_send_leave(layer, group, channel, steps))
        if OWNERS[channel] == layer and 0 in steps:
            self.model.start_reading(self.model.sides[layer])
        self.settle()

    async def _join_send_leave(self, layer: int, group: int, channel: int, steps: list[int]) -> None:
        name, members = (self.groups[group], self.names[channel]), self.model.members[group]
        for step in steps:
            if step == 0:
                await self.layers[layer].group_add(*name)
                members.add(channel)
            elif step == 1:
                await self.layers[layer].group_discard(*name)
                members.discard(channel)
            else:
                await self._group_send(1 - layer, group)

    @rule(layer=LAYERS, channel=CHANNELS)
    def discard_channel(self, layer: int, channel: int) -> None:
        if OWNERS[channel] == layer:  # which begins to read, and counts what has arrived before
            self.model.sides[layer].frees_when_it_reads = True
            self.let_read(layer)
        self.run(self.layers[layer].discard_channel(self.names[channel]))
        self.model.discard_channel(channel)
        self.settle()

    @rule(layer=LAYERS)
    def flush(self, layer: int) -> None:
        self.run(self.layers[layer].flush())
        self.model.flush()
        self.settle()

    @rule(layer=LAYERS, waits=st.booleans(), channel=CHANNELS)
    def close(self, layer: int, waits: bool, channel: int) -> None:
        waiting = None
        if waits and OWNERS[channel] in (layer, None):
            waiting = self.run(self._begin_to_wait(layer, channel))
            self.settle()
        self.run(self._close(layer, waiting))
        self.settle()

    async def _begin_to_wait(self, layer: int, channel: int) -> asyncio.Task[Any] | None:
        """A receive that waits; None if it has got something."""
        waiting = asyncio.create_task(self.layers[layer].receive(self.names[channel]))
        await asyncio.sleep(0)
        self.model.start_reading(self.model.sides[layer])
        if not self.model.unread[channel]:
            return waiting
        assert await waiting == self.model.take(layer, channel)
        return None

    async def _close(self, layer: int, waiting: asyncio.Task[Any] | None) -> None:
        await self.layers[layer].close()
        self.model.close(layer)
        if waiting is not None:
            with pytest.raises(LayerClosed):
                await waiting


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(DEADLINE)
    loop.close()


def test_two_layers_agree_with_a_model(redis_server: RedisServer, loop: asyncio.AbstractEventLoop) -> None:
    machine = type("OnThisServer", (TwoLayers,), {"server": redis_server, "loop": loop})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=150,
            stateful_step_count=30,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
