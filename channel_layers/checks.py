"""How a bad value gets into an error: by the name of what it was given for, and in a few words.

What is given may be anything: an object whose ``__repr__`` fails, a list that holds itself, a dict whose text would
take years to write. The error must come all the same.
"""

from __future__ import annotations

import reprlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .exceptions import InvalidChannelLayerError

#: Characters of a value that an error shows.
_LONGEST = 200

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
