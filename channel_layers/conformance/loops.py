"""Event loops and threads: one layer object for all of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from .base import LayerTests, layer_test
from .cancellation import receive_for
from .delivery import STOP, numbered, receive_until_stop
from .expect import expect_equal
from .running import in_other_loop, in_thread, start_thread, within


class DeadLoop:
    """An event loop in which a ``receive()`` waits that will never run again: the loop is stopped, or even closed."""

    def __init__(self, layer: Any, channel: str, *, closed: bool) -> None:
        self.closed = closed
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda *_: None)  # that a pending task is thrown away is what is tested
        self.task: Any = self.loop.create_task(layer.receive(channel))
        for _ in range(5):
            self.loop.run_until_complete(asyncio.sleep(0))
        if closed:
            self.loop.close()

    def end(self) -> None:
        if not self.closed:
            self.task.cancel()
            self.loop.run_until_complete(asyncio.gather(self.task, return_exceptions=True))
            self.loop.close()
        self.task = None


class LoopTests(LayerTests):
    """Event loops and threads"""

    async def finished(self, works: list[Any], what: str) -> list[Any]:
        """The results of what runs elsewhere."""
        return list(await self.within(asyncio.gather(*works), what))

    @layer_test("threads", "loops")
    async def test_a_send_from_another_thread_wakes_at_once(self) -> None:
        """*Asynchronous Support*: a message from another thread wakes a waiting receive, though its loop is idle."""
        async with self.layers() as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            has_groups = await self.why_not("groups") is None
            if has_groups:
                await receiver.group_add(group, channel)
            for n in range(6):
                send, to = (sender.group_send, group) if has_groups and n % 2 else (sender.send, channel)
                await self.expect_to_be_woken(receiver, channel, send, to, {"n": n})

    async def expect_to_be_woken(self, receiver: Any, channel: str, send: Any, to: str, message: Any) -> None:
        go = threading.Event()

        def run() -> None:
            go.wait(self.features.deadline)
            asyncio.run(send(to, message))

        thread = start_thread(run)
        waiting = self.start(receiver.receive(channel))
        await self.turns()
        asyncio.get_running_loop().call_soon(go.set)  # the last that this loop does before it falls asleep
        rule = "a send from another thread wakes a receive that waits in an idle loop"
        # The loop wakes anyway when the time is up; whoever comes only then is too late.
        got = await within(self.features.deadline / 2, waiting, rule)
        expect_equal(got, message, rule)
        await self.within(asyncio.wrap_future(thread), "the send in the other thread returns")

    @layer_test("threads", "loops")
    async def test_a_receive_in_another_thread_wakes(self) -> None:
        """*Asynchronous Support*: a receive that waits in another thread gets what is sent here."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for n in range(5):
                there = in_other_loop(lambda: receiver.receive(channel))
                await sender.send(channel, {"n": n})
                got = await self.within(there, "a receive in another thread gets the message")
                expect_equal(got, {"n": n}, "a receive in another thread gets the message")

    @layer_test("loops")
    async def test_many_loops_one_after_the_other(self) -> None:
        """*Asynchronous Support*: one layer object serves twenty event loops, each closed before the next begins."""
        async with self.layers() as (sender, receiver):
            group = self.name("room")
            has_groups = await self.why_not("groups") is None

            async def talk(n: int) -> None:
                channel = await receiver.new_channel()
                await sender.send(channel, {"n": n})
                await self.expect_next(receiver, channel, {"n": n}, "a message arrives in every event loop")
                if has_groups:
                    await receiver.group_add(group, channel)
                    await sender.group_send(group, {"n": -n})
                    await self.expect_next(receiver, channel, {"n": -n}, "a group works in every event loop")
                    await receiver.group_discard(group, channel)

            def run() -> None:
                for n in range(20):
                    asyncio.run(talk(n))

            await self.within(in_thread(run), "twenty event loops, one after the other, use one layer")

    @layer_test("loops")
    async def test_messages_outlive_a_loop(self) -> None:
        """*Asynchronous Support*: what was sent in a loop that is closed is received in the next, and so it is with
        groups."""
        async with self.layers() as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            has_groups = await self.why_not("groups") is None
            await self.within(in_other_loop(lambda: sender.send(channel, {"n": 1})), "send() in another loop returns")
            rule = "a message outlives the loop in which it was sent"
            got = await self.within(in_other_loop(lambda: receiver.receive(channel)), rule)
            expect_equal(got, {"n": 1}, rule)
            if has_groups:
                await self.within(in_other_loop(lambda: receiver.group_add(group, channel)), "group_add() returns")
                await self.within(in_other_loop(lambda: sender.group_send(group, {"n": 2})), "group_send() returns")
                await self.expect_next(receiver, channel, {"n": 2}, "a membership outlives the loop of group_add()")

    @layer_test("loops")
    async def test_async_to_sync(self) -> None:
        """*Asynchronous Support*: every verb works through asgiref.sync.async_to_sync, again and again."""
        sync = pytest.importorskip("asgiref.sync", reason="asgiref is not installed")
        async with self.layers() as (sender, receiver):
            group = self.name("room")
            has_groups = await self.why_not("groups") is None

            def run() -> None:
                send, receive = sync.async_to_sync(sender.send), sync.async_to_sync(receiver.receive)
                channel = sync.async_to_sync(receiver.new_channel)()
                if has_groups:
                    sync.async_to_sync(receiver.group_add)(group, channel)
                for n in range(20):
                    send(channel, {"n": n})
                    expect_equal(receive(channel), {"n": n}, "a message arrives through async_to_sync")
                    if has_groups:
                        sync.async_to_sync(sender.group_send)(group, {"n": -n})
                        expect_equal(receive(channel), {"n": -n}, "a group message arrives through async_to_sync")

            await self.within(in_thread(run), "twenty calls through async_to_sync return")

    @pytest.mark.parametrize("closed", [False, True], ids=["stopped", "closed"])
    @layer_test("threads", "loops")
    async def test_a_dead_loop_swallows_nothing(self, closed: bool) -> None:
        """*Asynchronous Support*: a receive in a loop that is stopped or closed takes no message from those who
        live."""
        async with self.layers() as (sender, receiver):
            for n in range(3):
                channel = await receiver.new_channel()
                dead = await self.within(
                    in_thread(lambda c=channel: DeadLoop(receiver, c, closed=closed)),  # type: ignore[misc]
                    "a receive begins in another loop",
                )
                rule = "a message reaches the receiver that lives"
                await sender.send(channel, {"n": n})
                await self.expect_next(receiver, channel, {"n": n}, rule)
                waiting = self.start(receiver.receive(channel))
                await self.turns()
                await sender.send(channel, {"n": -n})
                expect_equal(await self.within(waiting, rule), {"n": -n}, rule)
                await self.within(in_thread(dead.end), "the other loop ends")

    @layer_test("threads", "loops", "ordered")
    async def test_many_threads_send(self) -> None:
        """*Channels*: many threads send to one channel at once: nothing is lost, and each thread's order is kept."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = await receiver.new_channel()
            each = 60 if self.roomy else 10

            async def send_all(writer: int) -> None:
                for message in numbered(each, writer=writer):
                    await sender.send(channel, message)

            works = [in_other_loop(lambda w=writer: send_all(w)) for writer in range(8)]  # type: ignore[misc]
            got = await self.take_many(receiver, channel, 8 * each, "all messages of all threads arrive")
            await self.finished(works, "all threads end")
            for writer in range(8):
                order = [message["n"] for message in got if message["writer"] == writer]
                expect_equal(order, list(range(each)), "the messages of one thread keep their order")

    @layer_test("threads", "loops", "normal_channels", "waiting", "ordered_normal")
    async def test_receivers_in_many_threads_share_the_messages(self) -> None:
        """*Channels*: readers of a normal channel in several threads and loops get each message once."""
        async with self.layers(**self.roomy) as (sender, receiver):
            channel = self.name("jobs")
            layers = (sender, receiver, sender, receiver)
            works = [in_other_loop(lambda it=it: receive_until_stop(it, channel)) for it in layers]  # type: ignore[misc]
            works += [in_other_loop(lambda it=it: self.impatient(it, channel)) for it in layers]  # type: ignore[misc]
            count = 300 if self.roomy else 80
            for n, message in enumerate(numbered(count)):
                await sender.send(channel, message)
                await asyncio.sleep(0.001 if n % 20 == 0 else 0)
            for _ in works:
                await sender.send(channel, STOP)
            results = await self.finished(works, "every reader gets its stop message")
            got = [n for result in results for n in result]
            expect_equal(sorted(got), list(range(count)), "each message reaches one reader in one thread, once")

    @staticmethod
    async def impatient(layer: Any, channel: str) -> list[Any]:
        """As receive_until_stop, with receives that are cancelled all the time."""
        got: list[Any] = []
        while (message := await receive_for(layer, channel, 0.001)) != STOP:
            got += [message["n"]] if message is not None else []
        return got

    @layer_test("threads", "loops", "groups")
    async def test_groups_in_many_threads(self) -> None:
        """*Groups*: threads join, leave and send at once; whoever is a member all the time gets every message."""
        async with self.layers(**self.roomy) as (sender, receiver):
            group, steady = self.name("room"), await receiver.new_channel()
            await receiver.group_add(group, steady)
            each = 20 if self.roomy else 5

            async def come_and_go(writer: int) -> None:
                channel = await receiver.new_channel()
                for message in numbered(each, writer=writer):
                    await receiver.group_add(group, channel)
                    await sender.group_send(group, message)
                    got = None
                    while got != message:
                        got = await self.take(receiver, channel, "a member gets the message that it sent itself")
                    await receiver.group_discard(group, channel)

            works = [in_other_loop(lambda w=writer: come_and_go(w)) for writer in range(4)]  # type: ignore[misc]
            await self.finished(works, "all threads end")
            everything = await self.take_many(receiver, steady, 4 * each, "a steady member gets all messages")
            pairs = sorted((message["writer"], message["n"]) for message in everything)
            expect_equal(pairs, [(w, n) for w in range(4) for n in range(each)], "each message comes once")
