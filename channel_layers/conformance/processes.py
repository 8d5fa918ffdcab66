"""Processes: a layer before and after fork(), and layers of several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .base import LayerTests, layer_test
from .delivery import STOP, numbered, receive_until_stop
from .expect import expect, expect_equal, expect_error
from .running import Child


class ProcessTests(LayerTests):
    """Processes"""

    @contextmanager
    def child(self, work: Callable[[Child], Coroutine[Any, Any, Any]]) -> Iterator[Child]:
        """A forked process that runs ``work``."""
        if not hasattr(os, "fork"):
            pytest.skip("this system has no fork()")
        child = Child(work, self.features.deadline)
        try:
            yield child
        finally:
            child.end()

    async def talk(self, sender: Any, receiver: Any, channel: str, mark: str) -> None:
        """Use all that a layer offers."""
        await sender.send(channel, {"to": mark})
        await self.expect_next(receiver, channel, {"to": mark}, f"a message arrives in the {mark}")
        if await self.why_not("groups") is None:
            group = self.name("room")
            await receiver.group_add(group, channel)
            await sender.group_send(group, {"group": mark})
            await self.expect_next(receiver, channel, {"group": mark}, f"a group message arrives in the {mark}")

    @layer_test("fork")
    async def test_both_processes_work_after_fork(self) -> None:
        """*Beyond the specification*: a layer that was used before fork() works in the parent and in the child."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await self.talk(sender, receiver, channel, "parent")

            async def work(_: Child) -> None:
                await self.talk(sender, receiver, await receiver.new_channel(), "child")

            with self.child(work) as child:
                await self.talk(sender, receiver, channel, "parent")
                await child.hear()
            await self.talk(sender, receiver, channel, "parent")

    @layer_test("fork")
    async def test_a_child_has_its_own_names(self) -> None:
        """*Channels*: a process-specific channel belongs to one process: after fork() the child's prefix is new."""
        async with self.layers() as (sender, receiver):
            own = await receiver.new_channel()
            await self.talk(sender, receiver, own, "parent")

            async def work(_: Child) -> Any:
                return await receiver.new_channel()

            with self.child(work) as child:
                theirs = await child.hear()
            prefixes = [name.partition("!")[0] for name in (own, theirs, await receiver.new_channel())]
            expect(prefixes[0] != prefixes[1], f"expected the child to have another prefix than {prefixes[0]!r}")
            expect_equal(prefixes[2], prefixes[0], "the parent keeps its prefix")

    @layer_test("fork", "owned_channels")
    async def test_a_child_may_not_read_its_parents_channels(self) -> None:
        """*Channels*: receive() in the child on a process-specific channel of the parent is a ValueError."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await self.talk(sender, receiver, channel, "parent")

            async def work(_: Child) -> None:
                rule = "receive() on a channel of the parent is refused in the child"
                await expect_error(ValueError, lambda: self.within(receiver.receive(channel), rule), rule)

            with self.child(work) as child:
                await child.hear()
            await sender.send(channel, {"n": 1})
            await self.expect_next(receiver, channel, {"n": 1}, "the parent receives as ever")

    @layer_test("fork", "normal_channels", "waiting", "ordered_normal")
    async def test_fork_doubles_no_message(self) -> None:
        """*Channel Semantics*: a message that was unread at fork() is delivered once, in one of the processes."""
        async with self.layers() as (sender, receiver):
            channel = self.name("jobs")
            for message in numbered(5):
                await sender.send(channel, message)

            async def drain() -> list[Any]:
                await sender.send(channel, STOP)
                return await receive_until_stop(receiver, channel)

            async def work(_: Child) -> list[Any]:
                return await self.within(drain(), "the child receives what it sent")

            with self.child(work) as child:
                theirs = await child.hear()
            ours = await self.within(drain(), "the parent receives what it sent")
            expect_equal(sorted(theirs + ours), list(range(5)), "what was unread at fork() is delivered once")

    @layer_test("fork", "groups")
    async def test_a_child_starts_without_memberships(self) -> None:
        """*Groups*: fork() doubles no membership: a group message of the child comes to the parent's member once, if
        the two share groups, and otherwise not at all."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, channel)

            async def work(_: Child) -> None:
                await sender.group_send(group, {"from": "child"})

            with self.child(work) as child:
                await child.hear()
            if self.features.cross_process:
                await self.expect_next(receiver, channel, {"from": "child"}, "the parent's member gets the message")
            await self.expect_nothing(sender, receiver, channel, "a member gets no message twice, and none of others")

    @layer_test("fork")
    async def test_a_waiting_receive_outlives_fork(self) -> None:
        """*Beyond the specification*: a receive that waits in the parent is not disturbed by what the child does."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            waiting = self.start(receiver.receive(channel))
            await self.turns()

            async def work(_: Child) -> None:
                await self.talk(sender, receiver, await receiver.new_channel(), "child")
                if hasattr(receiver, "close"):
                    await receiver.close()

            with self.child(work) as child:
                await child.hear()
            expect(not waiting.done(), "expected a receive in the parent to wait on")
            await sender.send(channel, {"n": 1})
            got = await self.within(waiting, "a receive that waited through fork() gets what comes then")
            expect_equal(got, {"n": 1}, "it gets the message")

    @layer_test("cross_process")
    async def test_a_message_crosses_processes(self) -> None:
        """*Abstract*: what another process sends to a channel of this one arrives, in order."""

        async def work(child: Child) -> None:
            channel = await child.hear()
            async with self.layer() as layer:
                for message in numbered(20):
                    await layer.send(channel, message)

        with self.child(work) as child:
            async with self.layers() as (_, receiver):
                channel = await receiver.new_channel()
                child.tell(channel)
                got = await self.take_many(receiver, channel, 20, "messages of another process arrive")
                expect_equal([message["n"] for message in got], list(range(20)), "they come in their order")
                await child.hear()

    @layer_test("cross_process", "groups")
    async def test_a_group_spans_processes(self) -> None:
        """*Groups*: members of several processes get what any of them sends to the group."""

        async def work(child: Child) -> Any:
            group = await child.hear()
            async with self.layer() as layer:
                channel = await layer.new_channel()
                await layer.group_add(group, channel)
                child.tell("joined")
                return await self.take(layer, channel, "the member in the other process gets the message")

        with self.child(work) as child:
            async with self.layers() as (sender, receiver):
                group, channel = self.name("room"), await receiver.new_channel()
                await receiver.group_add(group, channel)
                child.tell(group)
                await child.hear()
                await sender.group_send(group, {"n": 1})
                await self.expect_next(receiver, channel, {"n": 1}, "the member in this process gets the message")
                expect_equal(await child.hear(), {"n": 1}, "the member in the other process gets the message")

    @layer_test("cross_process", "normal_channels", "waiting", "ordered_normal")
    async def test_processes_share_a_normal_channel(self) -> None:
        """*Channels*: readers of a normal channel in several processes get each message once."""

        async def work(child: Child) -> Any:
            channel = await child.hear()
            async with self.layer(**self.roomy) as layer:
                return await receive_until_stop(layer, channel)

        with self.child(work) as one, self.child(work) as other:
            async with self.layers(**self.roomy) as (sender, receiver):
                channel = self.name("jobs")
                for child in (one, other):
                    child.tell(channel)
                here = self.start(receive_until_stop(receiver, channel))
                count = 200 if self.roomy else 60
                for message in numbered(count):
                    await sender.send(channel, message)
                for _ in range(3):
                    await sender.send(channel, STOP)
                got = await self.within(here, "the reader here gets its stop message")
                got = got + await one.hear() + await other.hear()
                expect_equal(sorted(got), list(range(count)), "each message reaches one reader in one process, once")
