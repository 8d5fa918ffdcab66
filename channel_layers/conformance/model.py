"""A small model of a channel layer, and a machine that plays random steps on a layer and on the model."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from .base import LayerTests, outcome
from .expect import expect, expect_equal, expect_error

CHANNELS = st.integers(0, 2)
GROUPS = st.integers(0, 1)


class Model:
    """What is unread, by channel, oldest first; who is a member. A message is its number."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.unread: dict[str, list[int]] = {}
        self.members: dict[str, set[str]] = {}
        self.number = 0

    def is_full(self, channel: str) -> bool:
        return len(self.unread.get(channel, ())) >= self.capacity

    def next_message(self) -> dict[str, Any]:
        self.number += 1
        return {"n": self.number}

    def put(self, channel: str) -> None:
        if not self.is_full(channel):
            self.unread.setdefault(channel, []).append(self.number)

    def oldest(self, channel: str) -> str | None:
        """The channel whose message a receive takes: itself, or of those under a prefix the one with the oldest."""
        held = [name for name, numbers in self.unread.items() if numbers and name.startswith(channel)]
        held = held if channel.endswith("!") else [name for name in held if name == channel]
        return min(held, key=lambda name: self.unread[name][0], default=None)

    def take(self, channel: str) -> dict[str, Any]:
        source = self.oldest(channel)
        return {"n": self.unread[source].pop(0)} if source else {}


class LayerMachine(RuleBasedStateMachine):
    """Random steps on a layer, each compared with the model. A subclass names the test that runs it."""

    test: ClassVar[LayerTests]
    call: ClassVar[Callable[[Coroutine[Any, Any, Any]], Any]]
    claimed: ClassVar[dict[str, bool]]

    def __init__(self) -> None:
        super().__init__()
        self.stack = AsyncExitStack()
        self.run(self.open())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return type(self).call(work)

    async def open(self) -> None:
        # Objects that share channels may hear of each other's receives a moment later: there, nothing is ever full.
        self.bounded = self.claimed["capacity=channel"] and not self.test.features.shares_between_instances
        self.model = Model(3 if self.bounded else 10_000)
        options = {"capacity": 3} if self.bounded else self.test.roomy
        self.sender, self.receiver = await self.stack.enter_async_context(self.test.layers(**options))
        self.names = [await self.receiver.new_channel() for _ in range(3)]
        self.prefix = self.names[0][: self.names[0].index("!") + 1]
        if self.claimed["normal_channels"] and self.claimed["waiting"]:
            self.names[2] = self.test.name("jobs")
        self.groups = [self.test.name("room") for _ in range(2)]

    def teardown(self) -> None:
        try:
            self.run(self.drain())
        finally:
            self.run(self.stack.aclose())

    async def drain(self) -> None:
        for name in self.names:
            while self.model.oldest(name):
                await self.test.expect_next(self.receiver, name, self.model.take(name), "what is unread comes in order")
            await self.test.expect_nothing(self.sender, self.receiver, name, "nothing else is unread")

    # Steps

    @rule(channel=CHANNELS)
    def send(self, channel: int) -> None:
        self.run(self._send(self.names[channel]))

    async def _send(self, name: str) -> None:
        message = self.model.next_message()
        if self.bounded and self.model.is_full(name):
            full = self.test.full_error(self.sender)
            await expect_error(full, lambda: self.sender.send(name, message), "send() to a full channel raises")
        else:
            await self.test.within(self.sender.send(name, message), "send() to a channel with room returns")
            self.model.put(name)

    @rule(channel=CHANNELS)
    def receive(self, channel: int) -> None:
        self.run(self._receive(self.names[channel]))

    @precondition(lambda self: self.claimed["prefix_receive"])
    @rule()
    def receive_on_the_prefix(self) -> None:
        self.run(self._receive(self.prefix))

    async def _receive(self, name: str) -> None:
        """Take the oldest message; where there is none, wait for one that is sent then."""
        waiting = self.test.start(self.receiver.receive(name))
        if not self.model.oldest(name):
            await self.test.turns()
            expect(not waiting.done(), "expected receive() to wait where nothing is unread")
            await self._send(self.names[0] if name == self.prefix else name)
        what = "receive() returns the oldest message"
        expect_equal(await self.test.within(waiting, what), self.model.take(name), what)

    @rule(channel=CHANNELS, turns=st.integers(0, 4), send=st.booleans())
    def cancel_a_receive(self, channel: int, turns: int, send: bool) -> None:
        self.run(self._cancel_a_receive(self.names[channel], turns, send))

    async def _cancel_a_receive(self, name: str, turns: int, send: bool) -> None:
        waiting = self.test.start(self.receiver.receive(name))
        await self.test.turns(turns)
        if send and not (self.bounded and self.model.is_full(name)):
            await self._send(name)
        waiting.cancel()
        got = await self.test.within(outcome(waiting), "a cancelled receive ends")
        if got is not None:
            expect_equal(got, self.model.take(name), "a receive that ends before it is cancelled takes the oldest")

    @precondition(lambda self: self.claimed["groups"])
    @rule(group=GROUPS, channel=CHANNELS)
    def group_add(self, group: int, channel: int) -> None:
        self.run(self.receiver.group_add(self.groups[group], self.names[channel]))
        self.model.members.setdefault(self.groups[group], set()).add(self.names[channel])

    @precondition(lambda self: self.claimed["groups"])
    @rule(group=GROUPS, channel=CHANNELS)
    def group_discard(self, group: int, channel: int) -> None:
        self.run(self.receiver.group_discard(self.groups[group], self.names[channel]))
        self.model.members.get(self.groups[group], set()).discard(self.names[channel])

    @precondition(lambda self: self.claimed["groups"])
    @rule(group=GROUPS)
    def group_send(self, group: int) -> None:
        message = self.model.next_message()
        self.run(self.test.within(self.sender.group_send(self.groups[group], message), "group_send() returns"))
        for name in self.model.members.get(self.groups[group], ()):
            self.model.put(name)

    @precondition(lambda self: self.claimed["discard_channel"])
    @rule(channel=CHANNELS)
    def discard_channel(self, channel: int) -> None:
        name = self.names[channel]
        self.run(self.receiver.discard_channel(name))
        self.model.unread.pop(name, None)
        for members in self.model.members.values():
            members.discard(name)

    @precondition(lambda self: self.claimed["flush"])
    @rule()
    def flush(self) -> None:
        self.run(self.test.within(self.sender.flush(), "flush() returns"))
        self.model.unread.clear()
        self.model.members.clear()
