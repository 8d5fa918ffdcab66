"""Layers that break a rule of the layer as a whole: fresh names, close, fork, and what stays in memory."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import deque
from types import TracebackType
from typing import Any

from channel_layers.exceptions import LayerClosed
from channel_layers.inbox import Inbox

from .base import BrokenLayer


class NewChannelRepeatsNames(BrokenLayer, caught_by="test_new_channels_are_unique", also="GroupTests"):
    """new_channel: every name is fresh; here every fiftieth is one that was given out before."""

    def _break(self) -> None:
        super()._break()
        self._given: list[str] = []

    async def _new_channel(self, prefix: str) -> str:
        self._given.append(await super()._new_channel(prefix))
        return self._given[-1 if len(self._given) % 50 else -2]


class NewChannelIgnoresPrefix(BrokenLayer, caught_by="test_new_channel_honours_its_prefix", also="CapacityTests"):
    """new_channel: the name begins with the given prefix; here always with the same."""

    async def _new_channel(self, prefix: str) -> str:
        self._admit_channel(prefix)
        return await super()._new_channel("specific")


class NewChannelIsNormal(
    BrokenLayer,
    caught_by="test_new_channel_is_process_specific",
    also="CancellationTests CapacityTests CloseTests ExpiryTests FlushTests PrefixTests ProcessTests",
):
    """new_channel: the name is process-specific, with a "!"; here it is a normal one."""

    async def _new_channel(self, prefix: str) -> str:
        return (await super()._new_channel(prefix)).replace("!", ".")


class DeclaresWhatItLacks(BrokenLayer, caught_by="test_flush_drops_messages", also="StatisticsTests"):
    """extensions: what is declared works; here flush does not."""

    async def _flush(self) -> None:
        raise NotImplementedError


class CloseLeavesReceiversWaiting(BrokenLayer, caught_by="test_close_ends_waiting_receives"):
    """close ends waiting receives: here they wait for ever."""

    async def _close(self) -> None:
        with self._inbox.lock:
            self._groups.clear()
            self._inbox.clear("closed")


class CloseCancelsReceivers(BrokenLayer, caught_by="test_close_ends_waiting_receives"):
    """close ends waiting receives with LayerClosed: here they seem to have been cancelled."""

    async def _receive(self, channel: str) -> Any:
        try:
            return await super()._receive(channel)
        except LayerClosed:
            raise asyncio.CancelledError from None


class ClosedForGood(BrokenLayer, caught_by="test_a_closed_layer_starts_afresh"):
    """After close the next verb starts afresh: here receiving remains an error."""

    def _break(self) -> None:
        super()._break()
        self._closed = False

    async def _close(self) -> None:
        await super()._close()
        self._closed = True

    async def _receive(self, channel: str) -> Any:
        if self._closed:
            raise LayerClosed("closed")
        return await super()._receive(channel)


class CloseTwiceIsAnError(BrokenLayer, caught_by="test_close_can_be_repeated"):
    """close may be called again: here it is an error."""

    def _break(self) -> None:
        super()._break()
        self._closed = False

    async def _close(self) -> None:
        if self._closed:
            raise RuntimeError("closed already")
        await super()._close()
        self._closed = True


class CloseKeepsMemberships(BrokenLayer, caught_by="test_a_closed_layer_starts_afresh"):
    """After close the layer starts afresh: here its memberships are still there."""

    async def _close(self) -> None:
        with self._inbox.lock:
            self._inbox.close()


class LeavingTheBlockDoesNotClose(BrokenLayer, caught_by="test_async_with_closes"):
    """``async with`` closes the layer: here it stays open."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


class ChildIsItsParent(
    BrokenLayer,
    caught_by="test_a_child_has_its_own_names test_a_child_may_not_read_its_parents_channels",
):
    """Fork: the child has an identity and an inbox of its own; here it has its parent's."""

    def _after_fork(self) -> None:
        if not hasattr(self, "_inbox"):
            super()._after_fork()


class ChildHasParentsMessages(BrokenLayer, caught_by="test_fork_doubles_no_message"):
    """Fork: a message in the parent's inbox is delivered once; here the child delivers it too."""

    def _after_fork(self) -> None:
        queues = self._inbox._queues if hasattr(self, "_inbox") else {}
        held = {name: [item[2] for item in queue.items] for name, queue in queues.items()}
        super()._after_fork()
        for name, payloads in held.items():
            for payload in payloads:
                self._inbox.put(name, payload)


class ForkEndsReceivers(BrokenLayer, caught_by="test_a_waiting_receive_outlives_fork"):
    """Fork: a receive that waits in the parent waits on; here it is ended."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        _survivors.add(self)


_survivors: weakref.WeakSet[ForkEndsReceivers] = weakref.WeakSet()


def _after_fork_in_parent() -> None:
    for layer in tuple(_survivors):
        with layer._inbox.lock:
            layer._inbox.close()


os.register_at_fork(after_in_parent=_after_fork_in_parent)


class DoesNotSurviveFork(BrokenLayer, caught_by="test_both_processes_work_after_fork"):
    """Fork: the layer works in the child as well; here it does not."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._born = os.getpid()

    async def _receive(self, channel: str) -> Any:
        if os.getpid() != self._born:
            raise RuntimeError("this layer belongs to another process")
        return await super()._receive(channel)


class ChildRepeatsNames(BrokenLayer, caught_by="test_a_child_has_its_own_names"):
    """Fork: parent and child never make the same name; here they do."""

    _made = 0

    def _after_fork(self) -> None:
        client_id = getattr(self, "_client_id", None)
        super()._after_fork()
        self._client_id = client_id or self._client_id

    async def _new_channel(self, prefix: str) -> str:
        self._admit_channel(await super()._new_channel(prefix))
        self._made += 1
        return f"{prefix}.{self._client_id}!{self._made}"


class RemembersEveryMessage(BrokenLayer, caught_by="test_delivered_messages_are_let_go"):
    """Memory: a delivered message is let go; here all are kept."""

    def _break(self) -> None:
        super()._break()
        self._kept: list[Any] = []

    async def _receive(self, channel: str) -> Any:
        self._kept.append(await super()._receive(channel))
        return self._kept[-1]


class RemembersRefusedMessages(BrokenLayer, caught_by="test_dropped_messages_are_let_go"):
    """Memory: a message that a full channel did not take is let go; here it is kept."""

    class InboxType(Inbox):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.refused: list[Any] = []

        def put(self, channel: str, payload: Any) -> bool:
            accepted = super().put(channel, payload)
            if not accepted:
                self.refused.append(payload)
            return accepted


class ExpiredMessagesStayInMemory(BrokenLayer, caught_by="test_expired_messages_are_let_go"):
    """Memory: what has expired is let go though nobody asks for it; here it is kept until somebody does."""

    class InboxType(Inbox):
        def _tidy(self, now: float, steps: int = 0) -> None:
            while self._abandoned:
                self._leave(*self._abandoned.popleft())


_never_let_go: deque[BrokenLayer] = deque()


class IsNeverCollected(BrokenLayer, caught_by="test_a_layer_that_nobody_refers_to_is_collected"):
    """A layer nobody refers to is collected: here a list of all layers keeps it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _never_let_go.append(self)
