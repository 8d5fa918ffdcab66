"""The mailboxes of all clients of a site, as one client sends to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from ..exceptions import ChannelFull, LayerUnavailable, MessageTooLarge
from ..names import client_id_of
from . import segment
from .counters import hash_of
from .directory import VERSION
from .locks import BUSY
from .mailbox import FULL, GROUP, KIND, TOO_LARGE, Mailbox, Shape
from .wakeup import Rope

if TYPE_CHECKING:
    from .client import Client

_CHANNELS_REMEMBERED = 20_000


class Box:
    """The mailbox of a client, its number in the directory, and where its lock is."""

    __slots__ = ("byte", "mailbox", "number", "rope", "slot")

    def __init__(self, slot: int, number: int, byte: int, mailbox: Mailbox, rope: Rope) -> None:
        self.slot = slot
        self.number = number
        self.byte = byte
        self.mailbox = mailbox
        self.rope = rope


class Target:
    """Where a message to one channel goes; ``box`` is None if nobody lives there."""

    __slots__ = ("box", "capacity", "key", "name", "version")

    def __init__(self, channel: str, version: int, box: Box | None, capacity: int) -> None:
        self.version = version  # of the directory, when this was true
        self.box = box
        self.key = hash_of(channel)
        self.name = channel.encode("ascii")
        self.capacity = capacity


class Targets:
    """What one client knows of the others. It looks again when the directory has changed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._version = -1
        self._boxes: dict[str, Box] = {}
        self._targets: dict[str, Target] = {}
        self._keys: dict[str, tuple[int, bytes]] = {}

    def forget(self) -> None:
        """Hold nobody's memory any more."""
        self._version = -1
        self._boxes = {}
        self._targets = {}

    def _refresh(self) -> None:
        site = self._client.site
        version = site.directory.version
        if version == self._version:
            return
        boxes: dict[str, Box] = {}
        for slot, client, number in site.directory.clients():
            box = self._boxes.get(client)
            if box is None or box.number != number:
                box = self._open(slot, number)
            if box is not None:
                boxes[client] = box
        self._boxes, self._version = boxes, version
        self._targets = {}  # which hold the memory of those who have left

    def _open(self, slot: int, number: int) -> Box | None:
        site = self._client.site
        found = segment.attach(site.mailbox_name(slot), KIND)
        shape = Shape.read(found) if found is not None else None
        if found is None or shape is None:
            return None  # it left in this moment
        rope = Rope(site.bell_path(slot))
        return Box(slot, number, site.mailbox_byte(slot), Mailbox(found, shape, rope), rope)

    def boxes(self) -> list[Box]:
        """The mailboxes of all clients."""
        self._refresh()
        return list(self._boxes.values())

    def box_of(self, channel: str) -> Box | None:
        """The mailbox of the client whose channel this is; None if there is none, dead or never born."""
        if client_id_of(channel) == self._client.id:
            self._client.furnish()  # it may have been closed since it made that name
        self._refresh()
        return self._boxes.get(client_id_of(channel) or "")

    # Direct messages

    def send(self, channel: str, payload: bytes) -> Coroutine[Any, Any, None] | None:
        """Append a message to the mailbox in which a process-specific channel is, or raise what ``send`` raises."""
        site = self._client.site
        target = self._targets.get(channel)
        if target is None or target.version != site.directory.words[VERSION]:
            target = self._find(channel)
        box = target.box
        if box is None:
            return None
        arguments = (target.key, target.name, target.capacity, payload)
        outcome = site.locks.run(box.byte, box.mailbox.push_message, *arguments)
        if outcome is None and not box.rope.is_loose:
            return None
        if outcome is BUSY:
            return self._send_later(channel, box, arguments)
        self._settle(channel, box, outcome, arguments)
        return None

    def _find(self, channel: str) -> Target:
        if client_id_of(channel) == self._client.id:
            self._client.furnish()
        version = self._client.site.directory.version
        box, capacity = self.box_of(channel), self._client.inbox.capacity_of(channel)
        if len(self._targets) >= _CHANNELS_REMEMBERED:
            self._targets.clear()
        target = self._targets[channel] = Target(channel, version, box, capacity)
        return target

    async def _send_later(self, channel: str, box: Box, arguments: tuple[Any, ...]) -> None:
        outcome = await self._client.site.locks.run_soon(box.byte, box.mailbox.push_message, *arguments)
        self._settle(channel, box, outcome, arguments)

    def _settle(self, channel: str, box: Box, outcome: Any, arguments: tuple[Any, ...]) -> None:
        if outcome is TOO_LARGE:
            raise MessageTooLarge(len(arguments[3]), box.mailbox.ring.size)
        # A channel that nobody empties may be that of a dead process; then there is nobody to send to.
        if self._client.site.bury(box.slot):
            return
        if outcome is not None:
            raise ChannelFull(channel, arguments[2] if outcome is FULL else None)

    # Groups

    def group_send(self, group: str, payload: bytes) -> Coroutine[Any, Any, None] | None:
        """Append a group message to every mailbox and normal channel that may have members."""
        self._refresh()
        known = self._keys.get(group)
        if known is None:
            if len(self._keys) >= _CHANNELS_REMEMBERED:
                self._keys.clear()
            known = self._keys[group] = hash_of(group), group.encode("ascii")
        key, name = known
        site, normal = self._client.site, self._client.normal
        busy: list[tuple[int, Any, tuple[Any, ...]]] = []
        for box in self._boxes.values():
            if box.mailbox.has_group(key):
                arguments = (GROUP, name, payload, key)
                outcome = site.locks.run(box.byte, box.mailbox.push_control, *arguments)
                if outcome is BUSY:
                    busy.append((box.byte, box.mailbox.push_control, arguments))
                elif outcome is not None or box.rope.is_loose:
                    site.bury(box.slot)
        for number, channel, store in normal.members():
            member = (store, channel, key, payload)
            outcome = site.locks.run(site.normal_byte(number), normal.push_to_member, *member)
            if outcome is BUSY:
                busy.append((site.normal_byte(number), normal.push_to_member, member))
            elif outcome is not None:
                self._client.count_missed(1, f"members of {group}")
        return self._group_send_later(group, busy) if busy else None

    async def _group_send_later(self, group: str, busy: list[tuple[int, Any, tuple[Any, ...]]]) -> None:
        # All at once, so that several processes that are stopped cost no more than one.
        locks = self._client.site.locks
        outcomes = await asyncio.gather(*(locks.run_soon(byte, work, *arguments) for byte, work, arguments in busy))
        if BUSY in outcomes:
            self._client.count_missed(outcomes.count(BUSY), f"members of {group}")

    # Memberships of other clients' channels, and flush

    async def push_control(self, box: Box, kind: int, group: str, channel: str) -> None:
        """Let another client change the memberships of its channel.

        :raises LayerUnavailable: if its mailbox is full, or locked by a process that was stopped.
        """
        arguments = (kind, group.encode("ascii"), channel.encode("ascii"), hash_of(group))
        outcome = await self._client.site.locks.run_soon(box.byte, box.mailbox.push_control, *arguments)
        if outcome is not None and not self._client.site.bury(box.slot):
            raise LayerUnavailable(f"the mailbox of {channel!r} is {'locked' if outcome is BUSY else 'full'}")

    async def flush(self) -> None:
        """Empty all mailboxes and normal channels.

        :raises LayerUnavailable: if one of them is locked by a process that was stopped.
        """
        site = self._client.site
        work: list[tuple[int, Callable[[], object]]] = [(box.byte, box.mailbox.flush) for box in self.boxes()]
        for number, store in self._client.normal.all():
            work.append((site.normal_byte(number), store.clear))
        outcomes = await asyncio.gather(*(site.locks.run_soon(byte, empty) for byte, empty in work))
        if BUSY in outcomes:
            raise LayerUnavailable("flush: a process was stopped while it held a lock")
