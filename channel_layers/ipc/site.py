"""What the clients of one process have in common, for one prefix: the lock file, the directory, and their lives.

Whoever joins the directory takes over what the dead have left; whoever leaves as the last removes everything.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ..exceptions import InvalidChannelLayerError, LayerUnavailable
from . import directory as layout
from . import faults, segment
from .directory import FREE, HERE, JOINING, LEAVING, NORMALS, SLOTS, Directory
from .locks import BUSY, RecordLocks
from .mailbox import Mailbox
from .segment import IN_ORDER
from .wakeup import Bell, remove

# Bytes of the lock file.
_DIRECTORY_BYTE = 0
_LIFE = 1
_MAILBOX = _LIFE + SLOTS
_NORMAL = _MAILBOX + SLOTS

# The file system of the shared memory itself, where there is one: whoever shares the one shares the other.
# Elsewhere one that is the same for all: TMPDIR is not, and two lock files would guard the same memory.
_FOLDER = "/dev/shm" if os.path.isdir("/dev/shm") else "/tmp"  # noqa: S108


class Site:
    """One prefix in this process. Everything here is open while any of its clients is in the directory."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._take_name()
        self.slots: set[int] = set()
        self._turn = threading.RLock()  # of threads that join and leave

    # Set while it is open. On every verb's way, so no properties.
    locks: RecordLocks
    directory: Directory

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("locks", "directory"):
                raise LayerUnavailable("the layer was closed by another thread meanwhile")
            raise AttributeError(name)

    # Names

    def _take_name(self) -> None:
        digest = blake2b(f"{os.geteuid()}\0{self._prefix}".encode(), digest_size=6).hexdigest()
        self.base = f"/cl-{digest}"
        self._lock_path = f"{_FOLDER}{self.base}.lock"

    def mailbox_name(self, slot: int) -> str:
        return f"{self.base}-{slot}"

    def normal_name(self, number: int) -> str:
        return f"{self.base}-n{number}"

    def bell_path(self, slot: int) -> str:
        return f"{_FOLDER}{self.base}-{slot}.bell"

    @property
    def _directory_name(self) -> str:
        return f"{self.base}-d"

    @staticmethod
    def mailbox_byte(slot: int) -> int:
        return _MAILBOX + slot

    @staticmethod
    def normal_byte(number: int) -> int:
        return _NORMAL + number

    # Joining

    def check(self) -> None:
        """Look at what is there, and change nothing.

        :raises InvalidChannelLayerError: if it cannot be used.
        """
        if not self.slots:
            self._take_name()  # this process may have become another user's since, as servers do after they fork
        segment.attach(self._directory_name, layout.KIND)

    def join(self, client: str, permissions: int) -> int:
        """Put a client without a mailbox into the directory, and return its slot.

        :raises InvalidChannelLayerError: if what is there is not ours, or there is no room.
        :raises LayerUnavailable: if another process holds the directory for too long.
        """
        with self._turn:
            before = self.slots.copy()
            try:
                while True:
                    if not self.slots:
                        self._take_name()
                        self._open_lock_file(permissions)
                    slot = self.with_directory(self._join, client, permissions)
                    if slot is not None:
                        return int(slot)
                    self._close()  # the last one removed the file between our opening and locking it
            except BaseException:
                for slot in self.slots - before:  # it was let in, and then interrupted
                    self.leave(slot)
                if not self.slots:
                    self._close()
                raise

    def furnish(self, slot: int, client: str, make: Callable[[], tuple[Bell, Mailbox]]) -> tuple[Bell, Mailbox]:
        """Give a client its mailbox, which ``make`` makes; return what that returns.

        :raises InvalidChannelLayerError: if there is no room.
        :raises LayerUnavailable: if another process holds the directory for too long.
        """

        # Without the lock: to reserve memory takes long, and nobody else may touch what belongs to a living slot.
        bell, mailbox = make()

        def announce() -> None:
            self.directory.write_client(slot, client, True)
            self.directory.changed()

        try:
            if faults.hook is not None:
                faults.hook("join.created")
            self.with_directory(announce)
        except BaseException:
            bell.close()
            self._remove_mailbox(slot)
            raise
        return bell, mailbox

    def with_directory(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run under the lock of the directory.

        :raises LayerUnavailable: if another process holds it for too long.
        """
        result = self.locks.run_now(_DIRECTORY_BYTE, work, *arguments)
        if result is BUSY:
            raise LayerUnavailable(f"another process was stopped while it held {self._lock_path}")
        return result

    def look(self, work: Callable[[], Any]) -> Any:
        """Read what belongs together in the directory. Where it would not be seen in the order in which it was written,
        under the lock: whoever saw the new version with the old entries would keep those until the next change.

        :raises LayerUnavailable: if another process holds the lock for too long.
        """
        return work() if IN_ORDER else self.with_directory(work)

    def _open_lock_file(self, permissions: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._lock_path, flags, permissions)
        except OSError as error:
            raise InvalidChannelLayerError(f"cannot use the lock file {self._lock_path}: {error}") from error
        self.locks = RecordLocks(descriptor)
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
            raise InvalidChannelLayerError(f"the lock file {self._lock_path} is no file of this user")
        with suppress(OSError):
            os.fchmod(descriptor, permissions)

    def _join(self, client: str, permissions: int) -> int | None:
        if not os.fstat(self.locks.descriptor).st_nlink:
            if self.slots:
                raise LayerUnavailable(f"{self._lock_path} was removed while it was in use; close all layers")
            return None
        if not self.slots:
            self._open_directory(permissions)
        self.reclaim()
        directory = self.directory
        # One whose client has left, and still lives for a moment, is passed by. So are those of this process, whom its
        # own locks do not keep out.
        taken = {*directory.used_slots(), *self.slots}
        slot = next((slot for slot in range(SLOTS) if slot not in taken and self.locks.seize(_LIFE + slot)), None)
        if slot is None:
            raise LayerUnavailable(f"there are {SLOTS} clients already")
        try:
            directory.set_state(slot, JOINING)
            if faults.hook is not None:
                faults.hook("join.named")
            directory.write_client(slot, client, False)
            directory.set_state(slot, HERE)
            directory.changed()
            if faults.hook is not None:
                faults.hook("join.entered")
            self.slots.add(slot)  # still under the lock: another thread must not bury it as a dead one's
        except BaseException:
            self.slots.discard(slot)
            self._free(slot)
            if not self._living():
                self._remove_everything()
            raise
        return slot

    def _open_directory(self, permissions: int) -> None:
        found = segment.attach(self._directory_name, layout.KIND)
        if found is not None:
            self.directory = Directory(found)
            if self._living():
                return
            self._remove_contents()
        made = segment.create(self._directory_name, layout.SIZE, permissions)
        self.directory = Directory(made)
        made.finish(layout.KIND)

    # Leaving

    def leave(self, slot: int) -> None:
        """Take a client out of the directory, and remove everything if it was the last."""
        with self._turn:
            if slot not in self.slots:
                return
            # A directory that is held for too long is left as the dead leave it: who comes next takes it over.
            self.locks.run_now(_DIRECTORY_BYTE, self._leave, slot)
            self.locks.give_up(_LIFE + slot)
            self.slots.discard(slot)
            if not self.slots:
                self._close()

    def _leave(self, slot: int) -> None:
        self._free(slot)
        self.slots.discard(slot)
        if not self._living():
            self._remove_everything()
        self.slots.add(slot)

    def _close(self) -> None:
        locks: RecordLocks | None = self.__dict__.pop("locks", None)
        self.__dict__.pop("directory", None)
        if locks is not None:
            locks.close()

    # The dead

    def reclaim(self) -> None:
        """Free the slots of clients that died. Under the lock of the directory."""
        for slot in self.directory.used_slots():
            if slot not in self.slots and self.locks.seize(_LIFE + slot):
                self._free(slot)

    def bury(self, slot: int) -> bool:
        """Free a slot if its client is dead; False if it lives, or nobody can tell now."""
        return self.locks.run(_DIRECTORY_BYTE, self._bury, slot) is True

    def _bury(self, slot: int) -> bool:
        if slot in self.slots or self.directory.state(slot) == FREE or not self.locks.seize(_LIFE + slot):
            return False
        self._free(slot)
        return True

    def _living(self) -> bool:
        if self.slots:
            return True
        for slot in self.directory.used_slots():
            if not self.locks.seize(_LIFE + slot):
                return True
            self.locks.give_up(_LIFE + slot)
        return False

    def _free(self, slot: int) -> None:
        directory = self.directory
        directory.set_state(slot, LEAVING)
        if faults.hook is not None:
            faults.hook("reclaim.begun")
        self._remove_mailbox(slot)
        if faults.hook is not None:
            faults.hook("reclaim.unlinked")
        directory.take_out(slot)
        directory.set_state(slot, FREE)
        directory.changed()
        if faults.hook is not None:
            faults.hook("reclaim.freed")
        if slot not in self.slots:
            self.locks.give_up(_LIFE + slot)

    def _remove_mailbox(self, slot: int) -> None:
        # What another user has put there in its place is not ours to remove, and keeps nobody from leaving.
        with suppress(InvalidChannelLayerError):
            segment.unlink(self.mailbox_name(slot))
        with suppress(InvalidChannelLayerError):
            remove(self.bell_path(slot))

    def _remove_contents(self) -> None:
        for slot in self.directory.used_slots():
            self._remove_mailbox(slot)
        # Also the one that was being made when its maker died.
        first_free = self.directory.free_normal()
        for number in range(NORMALS if first_free is None else first_free + 1):
            with suppress(InvalidChannelLayerError):
                segment.unlink(self.normal_name(number))

    def _remove_everything(self) -> None:
        self._remove_contents()
        segment.unlink(self._directory_name)
        with suppress(FileNotFoundError):
            os.unlink(self._lock_path)


# By process, since a child's layers may look for theirs before the parent's are forgotten.
_sites: dict[tuple[int, str], Site] = {}


def site_of(prefix: str) -> Site:
    """The site of a prefix, the same for all clients of this process."""
    return _sites.setdefault((os.getpid(), prefix), Site(prefix))  # one step, which threads cannot split


def _forget_after_fork() -> None:
    for process, prefix in tuple(_sites):
        if process != os.getpid():
            locks: RecordLocks | None = _sites.pop((process, prefix)).__dict__.get("locks")
            if locks is not None:
                # Not close(): a thread that is not here may hold the guard. The child has no locks to lose by this.
                os.close(locks.descriptor)
                locks.descriptor = -1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
