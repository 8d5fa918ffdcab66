"""The errors a channel layer raises.

::

    Exception
    ├── ChannelFull                 send(): the channel holds as many unread messages as it may
    ├── MessageTooLarge             send(), group_send(): more than MESSAGE_LIMIT bytes as JSON, or no room for it
    ├── LayerClosed                 receive(): the layer was closed while it waited
    ├── TypeError
    │   └── InvalidMessage          send(), group_send(): a value that some backend could not carry
    ├── ValueError
    │   ├── InvalidChannelLayerError    a layer that is configured wrongly
    │   └── ForeignChannelError     receive(): a channel of another process
    └── OSError
        └── ConnectionError
            └── LayerUnavailable    any verb: what carries the messages cannot be used

Where Django Channels is installed, the three errors that it names too are subclasses of its own, so that existing
``except channels.exceptions.ChannelFull`` clauses go on working. Where other layers use ``assert``, there is an
``AssertionError`` among the bases, for the same reason; what is raised here is raised under ``python -O``, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    _ChannelFull = Exception
    _MessageTooLarge = Exception
    _InvalidChannelLayerError = ValueError
else:
    try:
        from channels.exceptions import ChannelFull as _ChannelFull
        from channels.exceptions import InvalidChannelLayerError as _InvalidChannelLayerError
        from channels.exceptions import MessageTooLarge as _MessageTooLarge
    except ImportError:
        _ChannelFull = _MessageTooLarge = Exception
        _InvalidChannelLayerError = ValueError

__all__ = [
    "ChannelFull",
    "InvalidChannelLayerError",
    "InvalidMessage",
    "LayerClosed",
    "LayerUnavailable",
    "MessageTooLarge",
]


class ChannelFull(_ChannelFull):
    """The channel holds as many unread messages as it may; the message was not sent.

    ``capacity`` is ``None`` where something else than the channel's own capacity was exhausted; ``reason`` says what.

    A group message never raises this: it is dropped for the full member alone.
    """

    def __init__(self, channel: str = "", capacity: int | None = None, reason: str | None = None) -> None:
        self.channel = channel
        self.capacity = capacity
        self.reason = reason
        super().__init__(channel, capacity)

    def __str__(self) -> str:
        if self.capacity is None:
            text = f"channel {self.channel!r} is full" if self.channel else "the channel is full"
            return text if self.reason is None else f"{text}: {self.reason}"
        return f"channel {self.channel!r} is full: it holds {self.capacity} unread messages"


class MessageTooLarge(_MessageTooLarge):
    """The message would take more than ``limit`` bytes; it was not sent.

    ``size`` is the exact number of bytes where it was computed, ``None`` where the message has so many values that
    counting on would be pointless. ``measure`` says of what: ``"as JSON"``, compact, for the limit of all layers, or
    ``"encoded"``, as the serializer of the layer made it, where that could never fit into the layer's own memory.
    """

    def __init__(self, size: int | None = None, limit: int | None = None, measure: str = "as JSON") -> None:
        self.size = size
        self.limit = limit
        self.measure = measure
        super().__init__(size, limit)

    def __str__(self) -> str:
        if self.limit is None:
            return "the message is too large"
        size = f"{self.size:,} bytes" if self.size is not None else f"more than {self.limit:,} bytes"
        return f"the message takes {size} {self.measure}, and may take at most {self.limit:,}: send it in parts"


class LayerClosed(Exception):  # noqa: N818 - the name is part of the contract, and says what happened
    """The layer was closed while this ``receive()`` waited."""


class InvalidMessage(TypeError, AssertionError):  # noqa: N818 - the name is part of the contract
    """The message is no ``dict``, or holds a value that some backend could not carry.

    ``path`` says where, for example ``message["user"]["id"]``; ``problem`` says what is wrong there.
    """

    def __init__(self, path: str = "message", problem: str = "cannot be sent") -> None:
        self.path = path
        self.problem = problem
        super().__init__(path, problem)

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class ForeignChannelError(ValueError, AssertionError):
    """A channel of another process or layer, which alone may receive on it."""


class InvalidChannelLayerError(_InvalidChannelLayerError):
    """A layer is configured wrongly; the text names the option, and the alias where one is known."""


class LayerUnavailable(ConnectionError):  # noqa: N818 - the name is part of the contract
    """What carries the messages cannot be used now.

    A server is away, or refuses; or shared memory is full, damaged, or held by a process that was stopped. Where
    something else was raised first, ``__cause__`` holds it.

    Whether the message was sent is unknown. It is not repeated: a message must never arrive twice.
    """
