"""The clients of this process, and how they end: with their layers, with the process, or as a parent's, with a fork."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING

from ..background import background_is_running, background_loop

if TYPE_CHECKING:
    from .client import Client

#: All clients of this process.
clients: weakref.WeakSet[Client] = weakref.WeakSet()


def close_soon(client: Client) -> None:
    """Close a client whose layer nobody refers to any more. The garbage collector may call this anywhere."""
    if client.slot is not None and background_is_running():
        background_loop().call_soon_threadsafe(client.close)


def close_all() -> None:
    """Close all clients, since the process ends."""
    for client in tuple(clients):
        client.close()


def _forget_after_fork() -> None:
    # Also those whose layers are gone, and which a thread of the parent closes at this moment: it may hold any lock of
    # theirs, and nobody would ever release it here.
    for client in tuple(clients):
        if client.process != os.getpid():
            client.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
