"""One layer object among the clients of a site: its slot, its mailbox, its inbox, and its part of each verb."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from ..background import background_loop
from ..ending import at_exit
from ..exceptions import LayerUnavailable
from ..home import Home
from ..names import new_client_id
from . import segment
from .delivery import Delivery
from .door import Door
from .inbox import MailboxInbox
from .lives import clients, close_all
from .locks import BUSY
from .mailbox import KIND, Mailbox, Shape
from .memberships import Memberships
from .normal import NormalChannels
from .normal_members import NormalMembers
from .reader import Reader
from .ring import HEAD
from .segment import IN_ORDER
from .site import site_of
from .targets import Targets
from .turns import Turns
from .wakeup import Bell, Rope
from .watch import Watch


class Client:
    """What a layer does, but for names and encoding. It joins with the first verb that needs it."""

    def __init__(
        self,
        prefix: str,
        expiry: float,
        group_expiry: float | None,
        memory: int,
        permissions: int,
        capacity_of: Callable[[str], int],
    ) -> None:
        self.id = new_client_id()
        #: The same as a word of shared memory, as far as it fits in there.
        self.number = int(self.id[2:], 16) & (1 << 64) - 1
        self.process = os.getpid()
        self.expiry = expiry
        self.group_expiry = group_expiry
        self.memory = memory
        self.permissions = permissions
        self.site = site_of(prefix)
        self.home = Home(self._moved_in, self._moved_out)
        self.memberships = Memberships(group_expiry)
        self.inbox = MailboxInbox(expiry, capacity_of, self.memberships.clear)
        self.delivery = Delivery(self.inbox, self.memberships)
        self.normal = NormalChannels(self)
        self.normal_members = NormalMembers(self)
        self.targets = Targets(self)
        self.slot: int | None = None
        self.reader: Reader | None = None
        self.door: Door | None = None
        self.watch: Watch | None = None
        self.turns = Turns(self)
        self._turn_lock = threading.RLock()
        clients.add(self)

    # Joining and leaving

    def join(self) -> None:
        """Be in the directory.

        :raises InvalidChannelLayerError: if the shared memory cannot be used.
        :raises LayerUnavailable: if another process holds the directory for too long.
        """
        if self.slot is None:
            with self._turn_lock:
                if self.slot is None:
                    background_loop()  # who is collected or closed without a loop needs it
                    at_exit(close_all)
                    self.slot = self.site.join(self.id, self.permissions)

    def furnish(self) -> Reader:
        """Have a mailbox, and read it; raises what :meth:`join` raises."""
        reader = self.reader
        if reader is not None:
            return reader
        with self._turn_lock:
            self.join()
            if self.reader is None:
                bell, mailbox = self.site.furnish(self.own_slot, self.id, self._make_mailbox)
                self.door = Door(self, self.own_slot, mailbox.words)
                reader = Reader(mailbox, self.inbox.notice_flush)
                with self.inbox.lock:
                    self.inbox.use(reader, self.door.run)
                    self.reader = reader
                self.watch = Watch(bell, self.turns.hurry, self.turns.take, self.home)
                self.watch.settle()
            return self.reader

    @property
    def own_slot(self) -> int:
        slot = self.slot
        if slot is None:
            raise LayerUnavailable("the layer was closed by another thread meanwhile")
        return slot

    def _make_mailbox(self) -> tuple[Bell, Mailbox]:
        shape = Shape.of(self.memory)
        path = self.site.bell_path(self.own_slot)
        bell = Bell(path, self.permissions)
        try:
            made = segment.create(self.site.mailbox_name(self.own_slot), shape.size, self.permissions)
        except BaseException:
            bell.close()
            raise
        shape.write(made)
        made.finish(KIND)
        return bell, Mailbox(made, shape, Rope(path))

    def close(self) -> None:
        """Leave the directory, and end all waits. From any thread."""
        with self._turn_lock:
            slot, self.slot = self.slot, None
            watch, self.watch = self.watch, None
            self.turns.forget()
            with self.inbox.lock:
                self.normal.close()
                self.normal_members.forget()
                self.inbox.close()
                self.inbox.use(None)
                self.reader = self.door = None
                self.memberships.clear()
            self.targets.forget()
            if watch is not None:
                watch.stop()
            if slot is not None:
                self.site.leave(slot)

    def abandon(self) -> None:
        """After fork(): leave everything to the parent."""
        clients.discard(self)
        watch = self.watch
        if watch is not None:
            watch.abandon()

    # Home

    def _moved_in(self, home: asyncio.AbstractEventLoop) -> None:
        watch = self.watch
        if watch is not None:
            watch.settle()

    def _moved_out(self) -> None:
        with self.inbox.lock:
            self.inbox.wake_unwoken()
        watch = self.watch
        if watch is not None:
            watch.settle()

    def apart(self, waiting: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Wait for something in a loop that is not the home."""
        watch = self.watch
        return watch.apart(waiting) if watch is not None else waiting

    # Reading

    def claim(self, channel: str) -> Any:
        """Deliver what has arrived, and take the oldest message of a channel of this client, or return None."""
        inbox, reader = self.inbox, self.reader
        if reader is None or reader.words[HEAD] == reader.taken:
            return None
        now = time.monotonic()
        with inbox.lock:
            if IN_ORDER and inbox.may_pass_by(channel, now):
                direct = reader.take_direct(channel.encode("ascii"), now - self.expiry)
                if direct is not None:
                    return inbox.pass_by(*direct)
            self._drain()
            payload = inbox.take_first(channel)
        if inbox.drops.unwritten or self.delivery.failures:
            self.report()
        return payload

    def report(self) -> None:
        self.inbox.drops.write()
        self.delivery.report()

    def catch_up(self) -> None:
        """Deliver what has arrived, as far as that is possible now. Where an event loop runs."""
        with self.inbox.lock:
            self._drain()
            if self.reader is not None and self.door is not None:
                self.tell_missed(self.reader, self.door)
        self.report()

    def _drain(self, prepare: Callable[[Reader], None] | None = None) -> bool:
        """Deliver all that is in the mailbox now; False if it is locked. Under the lock of the inbox.

        :param prepare: called under the lock of the mailbox.
        """
        reader, door = self.reader, self.door
        if reader is None or door is None:
            return False
        count: Any = reader.peek() if prepare is None and IN_ORDER else None
        if count is None or reader.is_damaged:
            count = door.run(self.look, reader, False, prepare)
        if count is BUSY:
            return False
        is_large = count > reader.mailbox.ring.size // 4
        while count:
            count -= self.delivery.some(reader, count)
        if is_large:  # give the room back, instead of with the next look
            if IN_ORDER:
                reader.publish()
            else:
                door.run(reader.publish)
        if self.inbox.unwoken and (self.watch is None or asyncio._get_running_loop() is not self.watch.loop):
            self.inbox.wake_unwoken()  # a loop that came for one call may not be here to do it later
        return True

    def look(self, reader: Reader, may_sleep: bool, prepare: Callable[[Reader], None] | None) -> int:
        """Under the locks of the inbox and the mailbox."""
        count = reader.look(may_sleep)
        if reader.is_damaged:
            reader.repair()
            problem = ValueError(f"something else has written to the shared memory {reader.mailbox.segment.name}")
            self.delivery.failures.append(("Dropped what was in a mailbox", problem))
            self.inbox.miss("its mailbox", "malformed")
            count = reader.look(may_sleep)
        if not count:
            reader.mend(self.inbox.counted, self.memberships.count_bucket)
        if prepare is not None:
            prepare(reader)
        return count

    def tell_missed(self, reader: Reader, door: Door) -> bool:
        """Count group messages that found no room here, for each member that the group has now; False if the mailbox is
        locked. Under the lock of the inbox.
        """
        if not reader.has_missed:
            return True
        missed: Any = door.run(reader.take_missed)
        if missed is BUSY:
            return False
        self.delivery.count_missed(reader, missed)
        return True

    def count_missed(self, count: int, channel: str) -> None:
        """Count group messages that this client could not bring to a mailbox or a normal channel: once for each, since
        who is a member there is not known here.
        """
        inbox = self.inbox
        with inbox.lock:
            for _ in range(count):
                inbox.miss(channel)
        if inbox.drops.unwritten:
            inbox.drops.write()

    # Memberships of the channels of this client

    def add_member(self, group: str, channel: str) -> bool:
        """Make a channel of this client a member from now on; False if the mailbox is locked."""
        reader = self.furnish()
        with self.inbox.lock:
            # Under the lock of the mailbox the group is counted, so that whoever pushes after that does push; and what
            # was sent until then is delivered to those who were members until then.
            is_done = self._drain(lambda reader: self.memberships.count(reader, group))
            if is_done:
                self.memberships.add(reader, group, channel)
        self.report()
        return is_done

    def end_member(self, group: str, channel: str) -> bool:
        """End a membership of a channel of this client, or, without a group, all of them, and drop what it holds; False
        if the mailbox is locked.
        """
        reader = self.furnish()
        with self.inbox.lock:
            is_done = self._drain()
            if is_done:
                self.delivery.end_member(reader, group, channel)
        self.report()
        return is_done
