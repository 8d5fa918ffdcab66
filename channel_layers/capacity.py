"""How many unread messages a channel may hold: one number, and other numbers for the names that match a pattern."""

from __future__ import annotations

import fnmatch
import re
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .checks import checking, plain_int, plain_str, shown
from .exceptions import InvalidChannelLayerError

CapacityPatterns = list[tuple["re.Pattern[str]", int]]


class CapacityRules:
    """Capacity by channel name, as methods and attributes that subclasses of Channels' base class know."""

    #: Unread messages that a channel holds at the most, where no pattern matches its name.
    capacity: int = 100

    #: Compiled patterns with their capacities; the first that matches holds.
    channel_capacity: Any = ()

    def compile_capacities(self, channel_capacity: Any) -> CapacityPatterns:
        """Compile what ``channel_capacity`` takes into pairs of pattern and capacity, in the given order.

        :param channel_capacity: a dict from a glob string or a compiled regular expression to a number of messages,
            or what this method returned earlier.
        :raises InvalidChannelLayerError: naming the entry that is neither.
        """
        with checking("channel_capacity"):
            if isinstance(channel_capacity, Mapping):
                pairs: Iterable[Any] = channel_capacity.items()
            elif isinstance(channel_capacity, (list, tuple)):
                pairs = channel_capacity
            else:
                raise InvalidChannelLayerError(
                    f"channel_capacity must be a dict from name pattern to capacity, not {shown(channel_capacity)}"
                )
            return [_compiled(pair) for pair in pairs]

    def get_capacity(self, channel: str) -> int:
        """How many unread messages ``channel`` may hold: that of the first pattern that matches its full name,
        otherwise ``capacity``.

        Specification, *Capacity*, with one deviation: the channels of a process do not share theirs.
        """
        if isinstance(self.channel_capacity, Mapping):  # set by a subclass that does not compile
            self.channel_capacity = self.compile_capacities(self.channel_capacity)
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return int(capacity)
        return self.capacity


def require_capacity(option: str, value: Any) -> int:
    """Return ``value`` if it is a whole number of messages, one or more.

    :raises InvalidChannelLayerError: naming the option.
    """
    number = plain_int(value)
    if number is None or number < 1:
        raise InvalidChannelLayerError(f"{option} must be a whole number of messages, 1 or more, not {shown(value)}")
    return number


def weakly(get_capacity: Callable[[str], int]) -> Callable[[str], int]:
    """A layer's method without a hold on the layer, for what must not keep it alive."""
    reference = weakref.WeakMethod(get_capacity)

    def call(channel: str) -> int:
        method = reference()
        return method(channel) if method is not None else 1

    return call


def _compiled(pair: Any) -> tuple[re.Pattern[str], int]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidChannelLayerError(f"channel_capacity must hold pairs of pattern and capacity, not {shown(pair)}")
    pattern, capacity = pair
    capacity = require_capacity(f"channel_capacity[{shown(pattern)}]", capacity)
    if isinstance(pattern, str):
        return re.compile(fnmatch.translate(plain_str(pattern))), capacity
    if callable(getattr(pattern, "match", None)) and not isinstance(getattr(pattern, "pattern", ""), bytes):
        return pattern, capacity
    raise InvalidChannelLayerError(
        f"channel_capacity: a pattern must be a glob string or a compiled regular expression for str, "
        f"not {shown(pattern)}"
    )
