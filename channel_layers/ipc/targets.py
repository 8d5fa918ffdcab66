"""The mailboxes of all clients of a site, as one client sends to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from ..exceptions import LayerUnavailable, MessageTooLarge
from ..names import client_id_of
from . import segment
from .counters import hash_of
from .directory import VERSION
from .door import Door
from .locks import BUSY
from .mailbox import FIXED, FULL, GROUP, KIND, SLEEPING, TOO_LARGE, Mailbox, Shape, channel_full
from .store import Store
from .wakeup import Rope

if TYPE_CHECKING:
    from .client import Client

_CHANNELS_REMEMBERED = 20_000

# Characters that the name of a channel or group has at the most.
_LONGEST_NAME = 100


class Box:
    """The mailbox of a client, its number in the directory, and its lock."""

    __slots__ = ("door", "mailbox", "number", "rope", "slot")

    def __init__(self, slot: int, number: int, door: Door, mailbox: Mailbox, rope: Rope) -> None:
        self.slot = slot
        self.number = number
        self.door = door
        self.mailbox = mailbox
        self.rope = rope


class Target:
    """Where a message to one channel goes; ``box`` is None if nobody lives there."""

    __slots__ = ("box", "capacity", "directory", "key", "name", "version", "was_full")

    def __init__(self, channel: str, directory: memoryview, version: int, box: Box | None, capacity: int) -> None:
        self.directory = directory  # its words
        self.version = version  # of the directory, when this was true
        self.box = box
        self.key = hash_of(channel)
        self.name = channel.encode("ascii")
        self.capacity = capacity
        #: The latest message was refused. Nobody is woken early for the next one: who sends again and again to a
        #: channel that nobody empties would wake its owner each time.
        self.was_full = False


class View:
    """The directory as it was at one version: all mailboxes, and what was found out with them.

    One object, which is replaced and never changed but for ``targets``: threads may look at the directory at the same
    time, and what one has seen must not get into what another concludes.
    """

    __slots__ = ("boxes", "least", "targets", "version")

    def __init__(self, version: int, boxes: dict[str, Box], memory: int) -> None:
        self.version = version
        self.boxes = boxes
        #: Bytes of an encoded group message that fits in everywhere, whatever the group is called.
        self.least = min([memory, *(box.mailbox.ring.size for box in boxes.values())]) - FIXED - _LONGEST_NAME
        self.targets: dict[str, Target] = {}


#: A mailbox that was locked, or None for a normal channel; and what pushes there once it is not.
_Busy = tuple[Box | None, Callable[[], Coroutine[Any, Any, Any]]]


class Targets:
    """What one client knows of the others. It looks again when the directory has changed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._view = View(-1, {}, client.memory)
        self._replacing = threading.Lock()  # of those who replace the view
        self._keys: dict[str, tuple[int, bytes]] = {}

    def forget(self) -> None:
        """Hold nobody's memory any more."""
        with self._replacing:
            self._view = View(-1, {}, self._client.memory)

    def _refresh(self) -> View:
        site, before = self._client.site, self._view
        directory = site.directory
        if directory.version == before.version:
            return before
        version, clients = site.look(lambda: (directory.version, list(directory.clients())))
        boxes: dict[str, Box] = {}
        for slot, client, number in clients:
            box = before.boxes.get(client)
            if box is None or box.number != number:
                box = self._open(slot, number)
            if box is not None:
                boxes[client] = box
        view = View(version, boxes, self._client.memory)
        with self._replacing:
            if self._view is before:  # it may be newer by now, or forgotten
                self._view = view
        return view

    def _open(self, slot: int, number: int) -> Box | None:
        site = self._client.site
        found = segment.attach(site.mailbox_name(slot), KIND)
        shape = Shape.read(found) if found is not None else None
        if found is None or shape is None:
            return None  # it left in this moment
        rope = Rope(site.bell_path(slot))
        mailbox = Mailbox(found, shape, rope)
        return Box(slot, number, Door(self._client, slot, mailbox.words), mailbox, rope)

    def boxes(self) -> list[Box]:
        """The mailboxes of all clients."""
        return list(self._refresh().boxes.values())

    def box_of(self, channel: str) -> Box | None:
        """The mailbox of the client whose channel this is; None if there is none, dead or never born."""
        if client_id_of(channel) == self._client.id:
            self._client.furnish()  # it may have been closed since it made that name
        return self._refresh().boxes.get(client_id_of(channel) or "")

    # Direct messages

    def send(self, channel: str, payload: bytes) -> Coroutine[Any, Any, None] | None:
        """Append a message to the mailbox in which a process-specific channel is, or raise what ``send`` raises."""
        target = self._view.targets.get(channel)
        if target is None or target.version != target.directory[VERSION]:
            target = self._find(channel)
        box = target.box
        if box is None:
            return None
        mailbox = box.mailbox
        woken = 0
        if mailbox.words[SLEEPING]:
            if target.was_full:
                target.was_full = False
            else:
                woken = mailbox.wake_early()
        outcome = box.door.push(mailbox.push_message, target.key, target.name, target.capacity, payload, woken)
        if outcome is None and not box.rope.is_loose:
            return None
        arguments = (target.key, target.name, target.capacity, payload)
        if outcome is BUSY:
            return self._send_later(channel, box, arguments)
        target.was_full = outcome is FULL
        self._settle(channel, box, outcome, arguments)
        return None

    def _find(self, channel: str) -> Target:
        client_id = client_id_of(channel) or ""
        if client_id == self._client.id:
            self._client.furnish()
        view, capacity = self._refresh(), self._client.inbox.capacity_of(channel)
        if len(view.targets) >= _CHANNELS_REMEMBERED:
            view.targets.clear()
        words, box = self._client.site.directory.words, view.boxes.get(client_id)
        target = view.targets[channel] = Target(channel, words, view.version, box, capacity)
        return target

    async def _send_later(self, channel: str, box: Box, arguments: tuple[Any, ...]) -> None:
        outcome = await box.door.run_soon(box.mailbox.push_message, *arguments)
        self._settle(channel, box, outcome, arguments)

    def _settle(self, channel: str, box: Box, outcome: Any, arguments: tuple[Any, ...]) -> None:
        if outcome is TOO_LARGE:
            raise MessageTooLarge(len(arguments[3]), box.mailbox.most(arguments[1]), "encoded")
        # A channel that nobody empties may be that of a dead process; then there is nobody to send to.
        if self._client.site.bury(box.slot):
            return
        if outcome is not None:
            raise channel_full(channel, arguments[2], outcome)

    # Groups

    def group_send(self, group: str, payload: bytes) -> Coroutine[Any, Any, None] | None:
        """Append a group message to every mailbox and normal channel that may have members."""
        view = self._refresh()
        known = self._keys.get(group)
        if known is None:
            if len(self._keys) >= _CHANNELS_REMEMBERED:
                self._keys.clear()
            known = self._keys[group] = hash_of(group), group.encode("ascii")
        key, name = known
        site, normal_members = self._client.site, self._client.normal_members
        busy: list[_Busy] = []
        members = normal_members.all()
        if len(payload) > view.least:
            _require_room(view.boxes.values(), members, known, payload)
        for box in view.boxes.values():
            if box.mailbox.has_group(key):
                arguments = (GROUP, name, payload, key)
                outcome = box.door.push(box.mailbox.push_control, *arguments)
                if outcome is BUSY:
                    busy.append((box, partial(box.door.run_soon, box.mailbox.push_control, *arguments)))
                elif outcome is not None or box.rope.is_loose:
                    self._settle_group(box, outcome)
        for number, channel, store in members:
            member = (store, channel, key, payload)
            outcome = normal_members.send(site.normal_byte(number), member)
            if outcome is BUSY:
                busy.append((None, partial(normal_members.send_soon, site.normal_byte(number), member)))
            elif outcome is not None:
                self._client.count_missed(1, f"members of {group}")
        return self._group_send_later(group, busy) if busy else None

    def _settle_group(self, box: Box, outcome: Any) -> None:
        if not self._client.site.bury(box.slot) and outcome is TOO_LARGE:
            box.rope.pull()  # it counts what it has missed, and may have nothing else to wake up for

    async def _group_send_later(self, group: str, busy: list[_Busy]) -> None:
        # All at once, so that several processes that are stopped cost no more than one.
        outcomes = await asyncio.gather(*(push() for _, push in busy))
        missed = 0
        for (box, _), outcome in zip(busy, outcomes, strict=True):
            if outcome is BUSY or (outcome is not None and box is None):
                missed += 1
            elif box is not None and outcome is not None:
                self._settle_group(box, outcome)
        if missed:
            self._client.count_missed(missed, f"members of {group}")

    # Memberships of other clients' channels, and flush

    async def push_control(self, box: Box, kind: int, group: str, channel: str) -> None:
        """Let another client change the memberships of its channel.

        :raises LayerUnavailable: if its mailbox is full, or locked by a process that was stopped.
        """
        arguments = (kind, group.encode("ascii"), channel.encode("ascii"), hash_of(group))
        outcome = await box.door.run_soon(box.mailbox.push_control, *arguments)
        if outcome is not None and not self._client.site.bury(box.slot):
            raise LayerUnavailable(f"the mailbox of {channel!r} is {'locked' if outcome is BUSY else 'full'}")

    async def flush(self) -> None:
        """Empty all mailboxes and normal channels.

        :raises LayerUnavailable: if one of them is locked by a process that was stopped.
        """
        site = self._client.site
        boxes, stores = self.boxes(), self._client.normal.all()  # first: either may find that something is damaged
        work = [box.door.run_soon(box.mailbox.flush) for box in boxes]
        work += [site.locks.run_soon(site.normal_byte(number), store.clear) for number, store in stores]
        outcomes = await asyncio.gather(*work)
        if BUSY in outcomes:
            raise LayerUnavailable("flush: a process was stopped while it held a lock")


def _require_room(
    boxes: Collection[Box], stores: list[tuple[int, int, Store]], group: tuple[int, bytes], payload: bytes
) -> None:
    """Refuse a group message that is too large for every one of those for whom it is.

    :raises MessageTooLarge: before anything is sent. Where some can take it, the others miss it, and that is counted.
    """
    key, name = group
    sizes = [box.mailbox.most(name) for box in boxes if box.mailbox.has_group(key)]
    sizes += [store.most for _, _, store in stores if store.is_member(key)]
    if sizes and len(payload) > max(sizes):
        raise MessageTooLarge(len(payload), max(sizes), "encoded")
