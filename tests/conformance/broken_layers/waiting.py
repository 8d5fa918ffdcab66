"""Layers that break a rule of waiting: receives that are cancelled, that wait elsewhere, or for long."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from channel_layers.exceptions import LayerClosed
from channel_layers.inbox import ChannelQueue, Inbox
from channel_layers.waiters import Waiters

from .base import EVERYTHING, BrokenLayer


class CancelledReceiveLosesMessage(
    BrokenLayer,
    caught_by="test_a_cancelled_member_stays_a_member test_cancelled_when_a_message_comes "
    "test_cancelled_where_a_message_waits",
    also="LoopTests",
):
    """Cancellation: a receive that is cancelled between taking a message and returning it loses the message."""

    async def _receive(self, channel: str) -> Any:
        payload = await self._inbox.take(channel)
        await asyncio.sleep(0)
        return payload


class CancelledReceiveTakesTheNext(
    BrokenLayer,
    caught_by="test_cancelled_while_waiting test_competing_receivers_that_are_cancelled",
    also="LoopTests",
):
    """Cancellation: for each receive that was cancelled, the next message vanishes, as if it were there still."""

    def _break(self) -> None:
        super()._break()
        self._ghosts: Counter[str] = Counter()

    async def _receive(self, channel: str) -> Any:
        try:
            return await self._inbox.take(channel)
        except asyncio.CancelledError:
            self._ghosts[channel] += 1
            raise

    def _send(self, channel: str, payload: Any) -> None:
        if self._ghosts[channel]:
            self._ghosts[channel] -= 1
        else:
            super()._send(channel, payload)


class CancelledReceivePutsBackLast(
    BrokenLayer,
    caught_by="test_cancelled_where_a_message_waits test_a_burst_outlives_many_cancellations",
):
    """Cancellation: a message taken by a cancelled receive comes back, but behind the others."""

    async def _receive(self, channel: str) -> Any:
        payload = await self._inbox.take(channel)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            with self._inbox.lock:
                self._inbox.put(channel, payload)
            raise
        return payload


class CancelledReceiveKeepsWakeUp(BrokenLayer, caught_by="test_the_other_receiver_gets_it"):
    """Cancellation: a receive that was woken and then cancelled does not pass the wake-up on to the next."""

    class InboxType(Inbox):
        def _leave(self, channel: str, future: asyncio.Future[None]) -> None:
            self._source(channel).waiters.remove(future)


class _OwnLoopOnly(Waiters):
    __slots__ = ()

    def wake(self) -> None:
        here = asyncio._get_running_loop()
        if self.alone is not None and self.alone.get_loop() is not here:
            return
        others = {loop: self.by_loop.pop(loop) for loop in tuple(self.by_loop) if loop is not here}
        super().wake()
        self.by_loop.update(others)

    def wake_all(self) -> None:
        while self.any():
            super().wake()


class OtherThreadsDoNotWake(
    BrokenLayer,
    caught_by="test_a_send_from_another_thread_wakes_at_once test_receivers_in_many_threads_share_the_messages",
):
    """Threads: a message sent from another thread, or another loop, does not wake the receiver."""

    class InboxType(Inbox):
        def _open(self, channel: str) -> ChannelQueue:
            queue = super()._open(channel)
            queue.waiters = _OwnLoopOnly()
            return queue


class BoundToItsFirstLoop(
    BrokenLayer,
    caught_by="test_a_dead_loop_swallows_nothing test_a_receive_in_another_thread_wakes test_async_to_sync "
    "test_groups_in_many_threads test_many_loops_one_after_the_other test_messages_outlive_a_loop",
    also="ProcessTests",
):
    """Loops: whoever receives on another event loop than the first gets an error."""

    def _break(self) -> None:
        super()._break()
        self._home: asyncio.AbstractEventLoop | None = None

    async def _receive(self, channel: str) -> Any:
        loop = asyncio.get_running_loop()
        self._home = self._home or loop
        if self._home is not loop:
            raise RuntimeError("the layer is bound to a different event loop")
        return await self._inbox.take(channel)


class IdleReceiveEnds(BrokenLayer, caught_by="test_a_receive_waits_as_long_as_it_takes", also="ProcessTests"):
    """Waiting: a receive ends with an error because nothing has come for a while."""

    async def _receive(self, channel: str) -> Any:
        return await asyncio.wait_for(self._inbox.take(channel), 0.1)


class PollsForMessages(BrokenLayer, caught_by="test_waiting_costs_nothing"):
    """No polling: a waiting receive looks every few milliseconds instead of being woken."""

    async def _receive(self, channel: str) -> Any:
        inbox = self._inbox
        times_closed = inbox._times_closed
        while True:
            with inbox.lock:
                if inbox._times_closed != times_closed:
                    raise LayerClosed("closed")
                payload = inbox.claim(channel)
            if payload is not None:
                return payload
            await asyncio.sleep(0.005)


class CancelledVerbKeepsTheLayer(
    BrokenLayer,
    caught_by="test_a_cancelled_verb_disturbs_nobody test_a_cancelled_group_verb_disturbs_nobody",
    also=EVERYTHING,
):
    """Cancellation: a verb that is cancelled at an await keeps the lock that all verbs take."""

    def _break(self) -> None:
        super()._break()
        self._busy = False

    async def _locked(self) -> None:
        while self._busy:  # noqa: ASYNC110 - a lock made badly on purpose
            await asyncio.sleep(0.001)
        self._busy = True
        await asyncio.sleep(0)
        self._busy = False

    async def _send(self, channel: str, payload: Any) -> None:
        await self._locked()
        super()._send(channel, payload)

    async def _new_channel(self, prefix: str) -> str:
        await self._locked()
        return await super()._new_channel(prefix)

    async def _group_add(self, group: str, channel: str) -> None:
        await self._locked()
        await super()._group_add(group, channel)

    async def _group_discard(self, group: str, channel: str) -> None:
        await self._locked()
        await super()._group_discard(group, channel)

    async def _group_send(self, group: str, payload: Any) -> None:
        await self._locked()
        super()._group_send(group, payload)
