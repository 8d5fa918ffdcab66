"""Waking another process: a named pipe for each client, into which whoever wants to wake it writes what for.

That is two bytes, which get into a pipe together or not at all: the number of a normal channel, or one that stands for
the client's mailbox. So whoever is woken need not look at all channels at which it waits.

Nobody ever waits here: a pipe that is full has woken its reader already, and one without a reader wakes nobody.
"""

from __future__ import annotations

import os
import signal
import stat

# What signal.getsignal() calls, before it makes an enum of the answer, which takes twenty times as long.
from _signal import getsignal  # type: ignore[import-not-found]
from contextlib import suppress

from ..exceptions import InvalidChannelLayerError

#: What is written for the mailbox.
MAILBOX = b"\xff\xff"

#: Instead of the number of a normal channel: any of them may have been rung for.
EVERY = 0xFFFE

_MAILBOX_NUMBER = 0xFFFF

# Windows has no such signal, and no layer; the module can be imported there.
_SIGPIPE = int(getattr(signal, "SIGPIPE", 0))

#: Bytes that are taken out at once; and how many, since no pipe holds less, show that more may not have got in.
_AT_ONCE, _LEAST_ROOM = 4096, 512


class Bell:
    """The reader's end of a pipe, which is made anew.

    :ivar descriptor: becomes readable when somebody rings.
    """

    def __init__(self, path: str, permissions: int) -> None:
        remove(path)
        os.mkfifo(path, permissions)
        os.chmod(path, permissions)
        # For writing, too: so it never comes to its end when the last writer goes.
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        _bells.add(self)

    def quiet(self) -> set[int]:
        """Take out what was written; the numbers of normal channels, perhaps EVERY, that were rung for."""
        try:
            data = os.read(self.descriptor, _AT_ONCE)
        except BlockingIOError:
            return set()
        if data == MAILBOX:
            return set()
        numbers = {int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)}
        numbers.discard(_MAILBOX_NUMBER)
        if len(data) >= _LEAST_ROOM:
            numbers.add(EVERY)
        return numbers

    def close(self) -> None:
        """Close the pipe; its name stays. Said twice, it is still closed once."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            _bells.discard(self)
            os.close(descriptor)


# Those that are open in this process.
_bells: set[Bell] = set()


def _close_after_fork() -> None:
    # A child that kept one open would seem to be its reader, when the parent is dead.
    for bell in tuple(_bells):
        bell.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_after_fork)


class Rope:
    """The other end: rings the bell of another client, or of one that is gone."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        self.is_loose = False

    def pull(self, what: bytes = MAILBOX) -> bool:
        """Wake the reader; whether that was done.

        If not, :attr:`is_loose` says so, too: there may be no reader, or this process has no descriptor left for it.

        :param what: for what: MAILBOX, or what :func:`for_normal` returns.
        """
        try:
            if self._descriptor < 0:
                self._keep(os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW))
            _write(self._descriptor, what)
        except BlockingIOError:
            pass  # full: it is awake
        except OSError:
            self.is_loose = True
            return False
        self.is_loose = False
        return True

    def _keep(self, descriptor: int) -> None:
        if self._descriptor < 0:
            self._descriptor = descriptor
        else:
            os.close(descriptor)  # another thread was quicker: who rings early has no lock

    def __del__(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)


def for_normal(number: int) -> bytes:
    """What is written for a normal channel."""
    return number.to_bytes(2, "little")


def _write(descriptor: int, data: bytes) -> None:
    """Write to a pipe that may have lost its reader, which must be an error here and no signal.

    Python ignores the signal, unless the program wants otherwise, as those do that are to end with the pipe to which
    they print; then the signal, which is this thread's alone, is kept from coming, and taken away.
    """
    if getsignal(_SIGPIPE) == signal.SIG_IGN:
        os.write(descriptor, data)
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGPIPE,))
    try:
        os.write(descriptor, data)
    except BrokenPipeError:
        if signal.SIGPIPE not in before and signal.SIGPIPE in signal.sigpending():
            signal.sigwait((signal.SIGPIPE,))
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def remove(path: str) -> None:
    """Remove a pipe that was left there.

    :raises InvalidChannelLayerError: if it is something else.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISFIFO(status.st_mode) or status.st_uid != os.geteuid():
        raise InvalidChannelLayerError(f"{path} is in the way: it is no pipe of this user")
    os.unlink(path)
