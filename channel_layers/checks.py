"""How a bad value gets into an error: by the name of what it was given for, and in a few words.

What is given may be anything: an object whose ``__repr__`` fails, a list that holds itself, a dict whose text would
take years to write. The error must come all the same.
"""

from __future__ import annotations

import re
import reprlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .exceptions import InvalidChannelLayerError

#: Characters of a value that an error shows.
_LONGEST = 200

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

_CONTAINERS = (dict, list, tuple, set, frozenset, deque)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = _LONGEST

    def repr1(self, x: Any, level: int) -> str:
        kind = type(x)
        if issubclass(kind, int) and int.bit_length(x) > 256:  # Python refuses to write more than some digits
            return f"an integer of {int.bit_length(x)} bits"
        if issubclass(kind, _CONTAINERS) and kind not in _CONTAINERS:  # of these, only its own __repr__ is known
            return f"<{kind.__name__}>"
        return super().repr1(x, level)


_short = _Short()


def shown(value: Any) -> str:
    """A value as an error shows it: like ``repr``, but always short, and soon."""
    try:
        text = _short.repr(value)
    except Exception:  # of whatever its methods do
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST + 20 else text[:_LONGEST] + "..."


def plain_str(value: str) -> str:
    """The same text as no more than a ``str``: a subclass may compare, hash and format as it likes."""
    return str.__str__(value)


def plain_int(value: Any) -> int | None:
    """The same number as no more than an ``int``; None for what is none, or is a ``bool``."""
    kind = type(value)
    return None if kind is bool or not issubclass(kind, int) else int.__int__(value)


def require_prefix(value: Any) -> str:
    """Return ``value`` if it may be the prefix of what layers share.

    :raises InvalidChannelLayerError: for anything but 1 to 64 ASCII letters, digits, ``.``, ``_`` and ``-``.
    """
    if issubclass(type(value), str) and _PREFIX.match(value):
        return plain_str(value)
    raise InvalidChannelLayerError(f"prefix must be 1 to 64 of the characters A-Z a-z 0-9 . _ -, not {shown(value)}")


@contextmanager
def checking(what: str) -> Iterator[None]:
    """Look at a value that was given for an option; what its own methods raise becomes an error with that name.

    :raises InvalidChannelLayerError: in place of every other exception.
    """
    try:
        yield
    except InvalidChannelLayerError:
        raise
    except Exception as error:  # without its text, which may hold what is secret
        raise InvalidChannelLayerError(f"{what} cannot be used: looking at it raised {type(error).__name__}") from error
