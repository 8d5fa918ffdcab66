"""The worst layer that is still legal. A test that it fails asks for more than the specification.

Everything that the specification leaves open is done in the way that a careless test, or a careless user, would not
expect. Messages travel on lanes, which a thread of its own empties in random order and at a random pace: only what must
keep its order shares a lane. So a message arrives some time after ``send()`` has returned, as it does from any server.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import threading
import time
import weakref
from collections import Counter, deque
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from channel_layers.exceptions import ChannelFull, LayerClosed
from channel_layers.names import client_id_of, new_channel_name, new_client_id
from channel_layers.spec import BaseChannelLayer
from channel_layers.statistics import DropLog, Statistics

_chance = random.Random()


class Letter(NamedTuple):
    """A message on its way to a channel, or unread there."""

    channel: str
    message: dict[str, Any]
    deadline: float


class Box:
    """What has arrived for the channels of one layer, and who waits there. The hub's lock guards it."""

    def __init__(self) -> None:
        self.unread: list[Letter] = []
        self.waiters: set[asyncio.Future[None]] = set()
        self.arrived = 0
        self.delivered = 0
        self.dropped: Counter[str] = Counter()
        self.times_closed = 0

    def drop(self, reason: str, doomed: list[Letter]) -> None:
        if doomed:
            gone = set(map(id, doomed))
            self.unread = [letter for letter in self.unread if id(letter) not in gone]
            self.dropped[reason] += len(doomed)

    def wake(self) -> None:
        """Wake everybody, in any order, whoever may be served: most of them for nothing."""
        waiters = list(self.waiters)
        _chance.shuffle(waiters)
        for future in waiters:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                future.get_loop().call_soon_threadsafe(_end, future)


class Hub:
    """What the layers of one test share: the lanes, the boxes and the memberships."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin empty: at first, and in the child of a fork, where no thread has survived."""
        self.process = os.getpid()
        self.lock = threading.RLock()
        self.boxes: weakref.WeakValueDictionary[str, Box] = weakref.WeakValueDictionary()
        self.common = Box()  # for the normal channels, and for specific ones whose names were made by hand
        self.lanes: dict[tuple[str, ...], deque[Letter]] = {}
        self.members: dict[str, dict[str, float]] = {}
        self.drops = DropLog()
        self._carrying = False

    def box_of(self, channel: str) -> Box | None:
        """The box of a channel; None if its layer is gone."""
        owner = client_id_of(channel)
        return self.common if owner is None else self.boxes.get(owner)

    def holds(self, channel: str) -> int:
        """Unread messages of a channel, those on their way included."""
        self.expire()
        box = self.box_of(channel)
        here = sum(letter.channel == channel for letter in box.unread) if box else 0
        return here + sum(letter.channel == channel for lane in self.lanes.values() for letter in lane)

    def post(self, lane: tuple[str, ...], letter: Letter) -> None:
        self.lanes.setdefault(lane, deque()).append(letter)
        if not self._carrying:
            self._carrying = True
            threading.Thread(target=self._carry, name="worst case", daemon=True).start()

    def _carry(self) -> None:
        while True:
            if _chance.random() < 0.05:
                time.sleep(_chance.random() * 0.002)
            with self.lock:
                if not self.lanes:
                    self._carrying = False
                    return
                self._arrive(_chance.choice(list(self.lanes)))

    def _arrive(self, lane: tuple[str, ...]) -> None:
        letter = self.lanes[lane].popleft()
        if not self.lanes[lane]:
            del self.lanes[lane]
        box = self.box_of(letter.channel)
        if box is not None:
            box.arrived += 1
            box.unread.append(letter)
            box.wake()

    def expire(self) -> None:
        """Drop what is past its deadline; a member that a message expires for is a member no longer, as permitted."""
        now = time.monotonic()
        for box in (self.common, *self.boxes.values()):
            expired = [letter for letter in box.unread if letter.deadline <= now]
            box.drop("expired", expired)
            for letter in expired:
                self.drops.note("expired", letter.channel)
                self.leave_all(letter.channel)
        for group, members in tuple(self.members.items()):
            self.members[group] = {channel: end for channel, end in members.items() if end > now}
            if not self.members[group]:
                del self.members[group]

    def leave_all(self, channel: str) -> None:
        for members in self.members.values():
            members.pop(channel, None)

    def clear(self, reason: str, channel: str | None = None) -> None:
        """Drop what is unread or on its way, to one channel or to all."""
        for lane, letters in tuple(self.lanes.items()):
            self.lanes[lane] = deque(letter for letter in letters if channel not in (None, letter.channel))
            if not self.lanes[lane]:
                del self.lanes[lane]
        for box in (self.common, *self.boxes.values()):
            box.drop(reason, [letter for letter in box.unread if channel in (None, letter.channel)])
            box.wake()


class WorstCaseLayer(BaseChannelLayer):
    """A legal layer without any kindness: it delays, reorders, wakes in vain, and forgets what it may forget.

    :param by_process: all that one layer sends to the channels of another keeps its order, as where each process has
        one mailbox. Otherwise each channel has a lane of its own, and direct messages have another than group messages.
    """

    extensions: ClassVar[list[str]] = ["groups", "flush"]

    def __init__(self, hub: Hub, *, by_process: bool, **options: Any) -> None:
        super().__init__(**options)
        self._hub = hub
        self._by_process = by_process
        self._after_fork()

    def _after_fork(self) -> None:
        if self._hub.process != os.getpid():
            self._hub.renew()
        self._client_id = new_client_id()
        self._box = self._hub.boxes[self._client_id] = Box()

    async def _send(self, channel: str, payload: Any) -> None:  # type: ignore[override]
        await _dawdle()
        with self._hub.lock:
            if self._hub.holds(channel) >= self.get_capacity(channel):
                raise ChannelFull(channel, self.get_capacity(channel))
            self._post(payload, channel, "direct")
        self._hub.drops.write()
        await _dawdle()

    async def _group_send(self, group: str, payload: Any) -> None:  # type: ignore[override]
        await _dawdle()
        hub = self._hub
        with hub.lock:
            hub.expire()
            members = list(hub.members.get(group, ()))
            _chance.shuffle(members)
            for channel in members:
                if hub.holds(channel) >= self.get_capacity(channel):
                    self._drop(channel)
                else:
                    self._post(payload, channel, group)
        hub.drops.write()
        await _dawdle()

    def _post(self, payload: Any, channel: str, kind: str) -> None:
        letter = Letter(channel, payload, time.monotonic() + self.expiry)
        lane = (self.non_local_name(channel),) if self._by_process else (channel, kind)
        self._hub.post((self._client_id, *lane), letter)

    def _drop(self, channel: str) -> None:
        self._hub.drops.note("full", channel)
        box = self._hub.box_of(channel)
        if box is not None:
            box.arrived += 1
            box.dropped["full"] += 1

    async def _receive(self, channel: str) -> Any:
        box = self._box if client_id_of(channel) else self._hub.common
        times_closed = self._box.times_closed
        while True:
            await _dawdle()
            with self._hub.lock:
                if self._box.times_closed != times_closed:
                    raise LayerClosed(f"closed while receive({channel!r}) waited")
                message = self._claim_from(box, channel)
                if message is not None and box is not self._box:
                    self._box.arrived += 1
                    self._box.delivered += 1
                elif message is None:
                    future = asyncio.get_running_loop().create_future()
                    box.waiters.add(future)
                    self._box.waiters.add(future)
            self._hub.drops.write()
            if message is not None:
                return message
            try:
                await future
            finally:
                with self._hub.lock:
                    box.waiters.discard(future)
                    self._box.waiters.discard(future)

    def _claim_from(self, box: Box, channel: str) -> Any:
        self._hub.expire()
        for place, letter in enumerate(box.unread):
            if letter.channel == channel or (channel[-1] == "!" and letter.channel.startswith(channel)):
                del box.unread[place]
                box.delivered += 1
                return letter.message
        return None

    def _may_receive(self, channel: str) -> bool:
        return client_id_of(channel) in (None, self._client_id)

    async def _new_channel(self, prefix: str) -> str:
        await _dawdle()
        name = new_channel_name(prefix, self._client_id)
        self._admit_channel(name)
        return name

    async def _discard_channel(self, channel: str) -> None:
        await _dawdle()
        with self._hub.lock:
            self._hub.leave_all(channel)
            self._hub.clear("discarded", channel)
        await _dawdle()

    async def _group_add(self, group: str, channel: str) -> None:
        await _dawdle()
        end = math.inf if self.group_expiry is None else time.monotonic() + self.group_expiry
        with self._hub.lock:
            self._hub.members.setdefault(group, {})[channel] = end
        await _dawdle()

    async def _group_discard(self, group: str, channel: str) -> None:
        await _dawdle()
        with self._hub.lock:
            self._hub.members.get(group, {}).pop(channel, None)
        await _dawdle()

    async def _flush(self) -> None:
        await _dawdle()
        with self._hub.lock:
            self._hub.members.clear()
            self._hub.clear("flushed")
        await _dawdle()

    async def _close(self) -> None:
        await _dawdle()
        hub = self._hub
        with hub.lock:
            own = {channel for members in hub.members.values() for channel in members if self._owns(channel)}
            for channel in own:
                hub.leave_all(channel)
            for channel in {
                letter.channel for lane in hub.lanes.values() for letter in lane if self._owns(letter.channel)
            }:
                hub.clear("closed", channel)
            self._box.drop("closed", self._box.unread)
            self._box.times_closed += 1
            self._box.wake()
        await _dawdle()

    def _owns(self, channel: str) -> bool:
        return client_id_of(channel) == self._client_id

    def _statistics(self) -> Statistics:
        with self._hub.lock:
            self._hub.expire()
            counts = Statistics(
                **self._sent.read(),
                arrived=self._box.arrived,
                delivered=self._box.delivered,
                dropped=MappingProxyType(dict(self._box.dropped)),
                unread=len(self._box.unread),
            )
        self._hub.drops.write()
        return counts


async def _dawdle() -> None:
    """Let others get ahead: mostly by a few turns of the loop, at times by a millisecond."""
    for _ in range(_chance.randrange(4)):
        await asyncio.sleep(0)
    if _chance.random() < 0.05:
        await asyncio.sleep(_chance.random() * 0.002)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
