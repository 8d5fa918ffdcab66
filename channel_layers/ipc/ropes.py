"""Ringing for those who wait at normal channels, as one client does it: by the slot of who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .directory import FREE
from .wakeup import Rope, for_normal

if TYPE_CHECKING:
    from .client import Client


class Ropes:
    """The ropes of all slots for which a client has rung."""

    def __init__(self, client: Client) -> None:
        self._client = client
        #: Slots whose bells were silent: their clients may be dead.
        self.silent: set[int] = set()
        self._ropes: dict[int, Rope] = {}
        self._version = -1  # of the directory: the next client of a slot has another bell

    def ring(self, slot: int, number: int) -> bool:
        """Ring for who waits at a normal channel in a slot; False if somebody may wait there still.

        Under the lock of the channel. That the slot is free is seen without the lock of the directory. It was true
        once, and that is enough: whoever has taken the slot since, and waits here, has left its mark under the lock
        that is held now, after that.
        """
        directory = self._client.site.directory
        version = directory.version
        if version != self._version:
            self._ropes, self._version = {}, version
        rope = self._ropes.get(slot)
        if rope is None:
            rope = self._ropes[slot] = Rope(self._client.site.bell_path(slot))
        if rope.pull(for_normal(number)) or directory.state(slot) == FREE:
            return True
        self.silent.add(slot)
        return False

    def bury_silent(self) -> None:
        """Free the slots of those who are dead. Otherwise everybody who sends would try again to ring for them."""
        silent, self.silent = self.silent, set()
        for slot in silent:
            self._client.site.bury(slot)

    def forget(self) -> None:
        """Hold no pipe any more."""
        self.silent.clear()
        self._ropes.clear()
        self._version = -1
