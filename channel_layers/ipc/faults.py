"""Labelled points of the protocol at which a test may kill or stop its process. Nothing happens there otherwise.

A point costs one comparison while :data:`hook` is None; only tests set it.
"""

from __future__ import annotations

from collections.abc import Callable

#: Called with the label of each point that is passed.
hook: Callable[[str], None] | None = None

#: All labels, in the order in which they are passed.
LABELS = (
    "push.early",
    "lock.held",
    "door.closed",
    "door.entered",
    "push.dirty",
    "push.woken",
    "push.counted",
    "push.written",
    "push.published",
    "lock.done",
    "flush.marked",
    "flush.raised",
    "take.published",
    "take.asleep",
    "take.copied",
    "reclaim.begun",
    "reclaim.unlinked",
    "reclaim.freed",
    "join.named",
    "join.entered",
    "join.created",
)
