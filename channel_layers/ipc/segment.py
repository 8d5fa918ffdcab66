"""A piece of shared memory that says what it is: made whole and with room for every byte, or not at all."""

from __future__ import annotations

import errno
import mmap
import os
import sys
from contextlib import suppress
from typing import Any

from ..exceptions import InvalidChannelLayerError, LayerUnavailable
from ..extras import require_extra

#: Of the arrangement of everything in shared memory: processes of two versions do not understand each other.
LAYOUT = 2

#: Bytes at the beginning of each segment: 64 words of 8 bytes, of which the first four say what it is.
HEADER = 512

_MAGIC, _LAYOUT, _SIZE, _KIND = range(4)
_MAGIC_NUMBER = 0x314C_5F43_5049_4C43  # "CLIPC_L1" read as a little-endian number


class Segment:
    """Shared memory that is mapped into this process.

    :ivar memory: its bytes.
    :ivar words: the same as unsigned numbers of 8 bytes; storing one of them is a single step.
    """

    def __init__(self, name: str, descriptor: int, size: int) -> None:
        self.name = name
        self.size = size
        self.memory = _map(descriptor, size)
        self.words = memoryview(self.memory).cast("Q")

    @property
    def is_whole(self) -> bool:
        """Whether who made it got to the end of that."""
        return self.words[_MAGIC] == _MAGIC_NUMBER

    def finish(self, kind: int) -> None:
        """Say what it is; the last thing that is written when it is made."""
        self.words[_LAYOUT] = LAYOUT
        self.words[_SIZE] = self.size
        self.words[_KIND] = kind
        self.words[_MAGIC] = _MAGIC_NUMBER


def _map(descriptor: int, size: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, trackfd=False)
    return mmap.mmap(descriptor, size)  # it keeps a descriptor of its own


def create(name: str, size: int, permissions: int) -> Segment:
    """Make a segment of zeros with room for all its bytes; what had that name before is gone.

    :raises InvalidChannelLayerError: if the system has too little shared memory, or another user has taken the name.
    """
    posix_ipc = _posix_ipc()
    unlink(name)
    try:
        shared = posix_ipc.SharedMemory(name, posix_ipc.O_CREX, mode=permissions, size=size)
    except (posix_ipc.ExistentialError, posix_ipc.PermissionsError):
        raise _refused(name, "another user has taken that name") from None
    except OSError as error:
        raise LayerUnavailable(f"cannot make shared memory ({name}): {error}") from error
    try:
        with suppress(OSError):  # macOS knows no modes of shared memory beyond those at its creation
            os.fchmod(shared.fd, permissions)
        _make_room(shared.fd, name, size)
        return Segment(name, shared.fd, size)
    except BaseException:
        unlink(name)
        raise
    finally:
        shared.close_fd()


def attach(name: str, kind: int) -> Segment | None:
    """Map the segment of this name; None if there is none, or one that was never finished.

    :raises InvalidChannelLayerError: if it is another user's, another version's, or not what its name says.
    """
    posix_ipc = _posix_ipc()
    try:
        shared = posix_ipc.SharedMemory(name)
    except posix_ipc.ExistentialError:
        return None
    except posix_ipc.PermissionsError:
        raise _refused(name, "this user may not open it") from None
    except OSError as error:
        raise LayerUnavailable(f"cannot open shared memory ({name}): {error}") from error
    try:
        status = os.fstat(shared.fd)
        if status.st_uid != os.geteuid():
            raise _refused(name, f"it belongs to the user with number {status.st_uid}")
        if status.st_size == 0:
            return None
        if status.st_size < HEADER or status.st_size % 8:
            raise _refused(name, f"it has {status.st_size} bytes")
        segment = Segment(name, shared.fd, status.st_size)
    finally:
        shared.close_fd()
    words = segment.words
    if not segment.is_whole:
        if words[_MAGIC]:
            raise _refused(name, "it does not begin as those of channel_layers do")
        return None
    if words[_LAYOUT] != LAYOUT:
        raise _refused(name, f"it is of layout {words[_LAYOUT]}, and this version of channel_layers knows {LAYOUT}")
    if words[_SIZE] > segment.size or words[_KIND] != kind:
        raise _refused(name, "its header is damaged")
    segment.size = words[_SIZE]  # macOS rounds up to whole pages
    return segment


def unlink(name: str) -> None:
    """Remove the name; who has the segment mapped keeps it.

    :raises InvalidChannelLayerError: if it is another user's.
    """
    posix_ipc = _posix_ipc()
    try:
        posix_ipc.unlink_shared_memory(name)
    except posix_ipc.ExistentialError:
        pass
    except posix_ipc.PermissionsError:
        raise _refused(name, "it belongs to another user") from None


def _make_room(descriptor: int, name: str, size: int) -> None:
    # Without this, shared memory that runs out ends the process with SIGBUS at some later store.
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.ENOMEM, errno.EFBIG):
            raise InvalidChannelLayerError(
                f"there is no room for {size:,} bytes of shared memory ({name}): make /dev/shm larger "
                "(docker run --shm-size), or give the layer a smaller message_memory"
            ) from error
        raise LayerUnavailable(f"cannot reserve shared memory ({name}): {error}") from error


def _refused(name: str, problem: str) -> InvalidChannelLayerError:
    return InvalidChannelLayerError(
        f"the shared memory {name} cannot be used: {problem}. Stop whoever uses it and remove it (on Linux it is "
        f"/dev/shm{name}), or choose another prefix"  # noqa: S108
    )


def _posix_ipc() -> Any:
    return require_extra("posix_ipc", "ipc", "IPCChannelLayer")
