"""The lock of a mailbox, and how the client that sends most to it comes in without asking the kernel.

Asking the kernel for a record lock, and giving it back, is a third of the cost of a send. So whoever has pushed twice
in a row, and nobody else in between, becomes *favoured* in that mailbox: from then on it says that it is inside, makes
sure that everybody can see that, and looks whether it still is the favoured one. All others take the record lock, end
the favour, make sure that everybody can see *that*, and look whether the favoured one is inside. Each says something
before it looks at what the other says, so they cannot both miss it, and at most one is inside.

* Whether it is inside, a client says in the directory, in a word that nobody else writes while it lives. With one word
  for all of them, one who had just lost the favour would take back what its successor says.
* Who dies inside is found inside by the next one, who asks the kernel whether it lives, and buries it. What it left
  half done is marked in the mailbox, whatever the lock was.
* That stores are seen in their order, and that a lock of a thread makes them seen before anything that follows is
  looked at, is true of x86. Elsewhere nobody is favoured.

``tests/ipc/model/door.py`` explores this in full, with stores that wait in their processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from . import faults
from .directory import SLOTS, inside_word
from .locks import BUSY, PATIENCE, keep_trying
from .segment import IN_ORDER

if TYPE_CHECKING:
    from .client import Client

# Words of the mailbox's header: who is favoured, the slot of the one that was favoured last, and who pushed last. They
# are written under the record lock only.
_FAVOURED, _FAVOURED_SLOT, _LATEST = 33, 34, 35

#: Looks at a favoured client that is inside: a push takes two microseconds, and so do these.
_LOOKS = range(40)


class _Outcome:
    pass


_OCCUPIED: Final = _Outcome()


class Door:
    """The lock of one mailbox, as one client uses it. The client is in the directory.

    :param slot: of the mailbox.
    :param words: the header of the mailbox.
    """

    def __init__(self, client: Client, slot: int, words: memoryview) -> None:
        site = client.site
        self._client = client
        self._own_slot = client.own_slot
        # The slot is part of it: a client that has left and come back to another one is favoured nowhere, since others
        # would look for it in the slot that it had.
        self._me = client.number // SLOTS * SLOTS + self._own_slot
        self._locks = site.locks
        self._byte = site.mailbox_byte(slot)
        self._words = words
        self._inside = site.directory.words
        self._at = inside_word(self._own_slot)
        self._here = slot + 1

    def push(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """As :meth:`run`, for what senders do again and again."""
        words = self._words
        if words[_FAVOURED] != self._me:
            return self._run(self._push, work, *arguments)
        locks, inside, at, hook = self._locks, self._inside, self._at, faults.hook
        fence = locks.fence
        guard = locks.guard
        # As in RecordLocks.run(), but for what excludes other processes.
        try:
            if not (guard.acquire(False) or guard.acquire(True, PATIENCE)) or locks.is_inside:
                return BUSY
            try:
                locks.is_inside = True
                inside[at] = self._here
                if hook is not None:
                    hook("door.entered")
                fence.acquire(False)
                fence.release()
                if words[_FAVOURED] == self._me and self._client.slot == self._own_slot and locks.descriptor >= 0:
                    return work(*arguments)
            finally:
                inside[at] = 0
                locks.is_inside = False
        finally:
            try:  # noqa: SIM105 - suppress() would take as long as the lock
                guard.release()
            except RuntimeError:
                pass  # it was not acquired
        return self._run(self._push, work, *arguments)

    def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``work`` while nobody else is inside; return what it returns, or BUSY: as :meth:`RecordLocks.run`."""
        return self._run(self._alone, work, *arguments)

    async def run_soon(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The same, trying for PATIENCE seconds without holding up the event loop."""
        return await keep_trying(self.run, work, *arguments)

    def _run(self, how: Callable[..., Any], work: Callable[..., Any], *arguments: Any) -> Any:
        outcome = self._locks.run(self._byte, how, work, *arguments)
        if outcome is _OCCUPIED:
            is_dead = self._client.site.bury(self._words[_FAVOURED_SLOT] % SLOTS)
            outcome = self._locks.run(self._byte, how, work, *arguments) if is_dead else BUSY
        return BUSY if outcome is _OCCUPIED else outcome

    # Under the record lock

    def _alone(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if not self._is_empty():
            return _OCCUPIED
        return work(*arguments)

    def _push(self, work: Callable[..., Any], *arguments: Any) -> Any:
        result = self._alone(work, *arguments)
        if result is not _OCCUPIED:
            self._note_push()
        return result

    def _note_push(self) -> None:
        words = self._words
        if words[_LATEST] != self._me:
            words[_LATEST] = self._me
        elif IN_ORDER:
            words[_FAVOURED_SLOT] = self._own_slot
            words[_FAVOURED] = self._me

    def _is_empty(self) -> bool:
        words = self._words
        favoured = words[_FAVOURED]
        if favoured == self._me:
            return True  # only threads of this process come in otherwise, and this one holds their guard
        if favoured:
            words[_FAVOURED] = 0
            if faults.hook is not None:
                faults.hook("door.closed")
            self._locks.fence.acquire(False)
            self._locks.fence.release()
        slot = words[_FAVOURED_SLOT] % SLOTS
        inside, at, here = self._inside, inside_word(slot), self._here
        if inside[at] != here:
            return True
        if slot in self._client.site.slots:
            inside[at] = 0  # of this process, whose other threads are kept out: an interrupt has left it so
            return True
        return any(inside[at] != here for _ in _LOOKS)
