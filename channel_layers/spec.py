"""The contract of a channel layer, written on the methods that keep it.

This is the specification that Django Channels publishes, as code: each verb states its promise, checks what it is
given, and hands over to a hook of the same name with an underscore in front. A backend fills in the hooks, and reads
nothing but valid names and encoded messages there. It may instead override a verb whole.

What a layer promises of every channel:

* **At most once.** A message is delivered to one receiver, once, or to nobody; never twice.
* **In order.** What one writer sends to a channel, or to a group, one reader receives in that order.
* **Sending never blocks** on a slow reader: a full channel raises ``ChannelFull``, or misses a group message.
* **Unread messages expire** after ``expiry`` seconds, memberships after ``group_expiry`` seconds.
* **Nobody shares.** What a receiver gets is nobody else's: neither the sender's nor another receiver's object.
* **Cancelling a** ``receive()`` **loses nothing.**

The one deviation from the specification: capacity is counted for each channel by its full name. There, the channels of
a process share one capacity, so that one slow consumer starves all others.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, ClassVar, NoReturn, TypeVar

from .capacity import CapacityRules, require_capacity
from .checks import shown
from .exceptions import ChannelFull, InvalidChannelLayerError, MessageTooLarge
from .messages import fresh_copy, plain_copy
from .names import NameRules
from .statistics import SentCounts, Statistics, logger

_Layer = TypeVar("_Layer", bound="BaseChannelLayer")


class BaseChannelLayer(NameRules, CapacityRules):
    """The base of every channel layer.

    The order of the arguments is that of Channels' own base class, so that a layer written against that one moves here
    by changing its import.

    :param expiry: seconds, fractions allowed, after which an unread message is dropped.
    :param capacity: unread messages that one channel holds at the most.
    :param channel_capacity: other capacities for some channels: a dict from a glob string or a compiled regular
        expression to a number of messages; the first that matches the full name holds.
    :param group_expiry: seconds that a membership lasts after the latest ``group_add``; None: as long as the process.
    :raises InvalidChannelLayerError: naming the option that is unknown or has a bad value.

    The options are read when the layer is built; do not rely on setting the attributes of the same names later.
    """

    #: The exception of a ``send`` to a channel that is at its capacity.
    ChannelFull: ClassVar[type[Exception]] = ChannelFull

    #: The exception of a ``send`` or ``group_send`` of more than 1,048,576 bytes as compact JSON.
    MessageTooLarge: ClassVar[type[Exception]] = MessageTooLarge

    #: The extensions that the layer provides: of ``"groups"`` and ``"flush"``, those whose verbs work.
    extensions: list[str] = []  # noqa: RUF012 - a ported layer may set it on itself

    expiry: float = 60
    group_expiry: float | None = 86400

    _sent: SentCounts

    def __new__(cls: type[_Layer], *args: Any, **options: Any) -> _Layer:
        # Here and not in __init__: layers written against Channels' base class often do not call that.
        layer = super().__new__(cls)
        layer._forget_names()
        layer._sent = SentCounts()
        _all_layers[id(layer)] = layer
        return layer

    def __init__(
        self,
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: Any = None,
        *,
        group_expiry: float | None = 86400,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise InvalidChannelLayerError(
                f"{type(self).__name__} has no option {', '.join(map(shown, sorted(unknown)[:5]))}; "
                "check the spelling, or remove it from CONFIG"
            )
        self.expiry = require_seconds("expiry", expiry)
        self.group_expiry = None if group_expiry is None else require_seconds("group_expiry", group_expiry)
        self.capacity = require_capacity("capacity", capacity)
        self.channel_capacity = self.compile_capacities({} if channel_capacity is None else channel_capacity)

    # Channels

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to a channel.

        Specification, *Channel Semantics*: it never waits for a reader, and is never repeated.

        :param channel: a channel name, normal or process-specific.
        :param message: a dict of dicts, lists, tuples, ``str``, ``bytes``, ``int``, ``float``, ``bool`` and None.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        :raises ChannelFull: if the channel holds as many unread messages as its capacity.
        :raises LayerUnavailable: if what carries the messages cannot be used; whether the message was sent is unknown.
        """
        try:
            if type(channel) is not str or channel not in self._valid_channels:
                channel = self._admit_channel(channel)
            pending = self._send(channel, self.serialize(message))
            if pending is not None:
                await pending
        except Exception as error:
            self._sent.refuse(error)
            raise
        self._sent.accept()

    async def receive(self, channel: str) -> dict[str, Any]:
        """Wait for the next message of a channel, and return it.

        Specification, *Channels*: any number of receivers may wait; each message goes to one of them. A name that ends
        in ``!`` takes any message under that prefix, in order of arrival. The wait has no time limit: a message
        ends it, or being cancelled, or closing the layer; cancelling it loses nothing.

        :param channel: a normal channel, a process-specific one of this process, or its prefix up to the ``!``.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises ValueError: for a channel of another process; or a message that cannot be decoded, which is lost then.
        :raises LayerClosed: if the layer is closed while this waits.
        :raises LayerUnavailable: if shared memory cannot be used; for a Redis server that is away, it waits.
        """
        if type(channel) is not str or channel not in self._own_channels:
            channel = self._admit_own_channel(channel)
        payload = self._claim(channel)
        if payload is None:
            payload = await self._receive(channel)
        return self.deserialize(payload)

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return a fresh process-specific name, ``<prefix>.<client id>!<unique>``, that this process may receive on.

        Specification, *Specification Details*.

        :param prefix: how the name begins; it has no influence on the way of a message.
        :raises TypeError: for a prefix that does not make a legal name, saying what does.
        :raises LayerUnavailable: if what carries the messages cannot be used.
        """
        return await self._new_channel(self._admit_prefix(prefix))

    async def discard_channel(self, name: str) -> None:
        """End a channel: drop its unread messages and all its memberships. A ``receive`` that waits there waits on.

        :param name: any channel: normal, or of any process.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises LayerUnavailable: if what carries the messages cannot be used; whether it was done is unknown.
        """
        if type(name) is not str or name not in self._valid_channels:
            name = self._admit_channel(name)
        await self._discard_channel(name)

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Make a channel a member of a group, or renew its membership for another ``group_expiry`` seconds.

        Specification, *Groups* and *Persistence*. When it returns, what anyone sends to the group arrives.

        :param group: a group name.
        :param channel: any channel: normal, or of any process.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises LayerUnavailable: if what carries the messages cannot be used; whether it was done is unknown.
        """
        pending = self._group_add(*self._admit_membership(group, channel))
        if pending is not None:
            await pending

    async def group_discard(self, group: str, channel: str) -> None:
        """End a membership; do nothing if there is none.

        What was sent to the group before still arrives.

        :param group: a group name.
        :param channel: any channel: normal, or of any process.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises LayerUnavailable: if what carries the messages cannot be used; whether it was done is unknown.
        """
        await self._group_discard(*self._admit_membership(group, channel))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to every channel that is a member of the group now.

        Specification, *Groups* and *Capacity*: a member that is full misses it, silently; it is counted in
        ``statistics()``, and logged once for each burst.

        :param group: a group name.
        :param message: as for :meth:`send`.
        :raises TypeError: for a name that is not legal, saying what is.
        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        :raises LayerUnavailable: if what carries the messages cannot be used; whether the message was sent is unknown.
        """
        try:
            if type(group) is not str or group not in self._valid_groups:
                group = self._admit_group(group)
            pending = self._group_send(group, self.serialize(message))
            if pending is not None:
                await pending
        except Exception as error:
            self._sent.refuse(error)
            raise
        self._sent.accept()

    # The layer as a whole

    async def flush(self) -> None:
        """Empty the layer: no messages, no memberships. When it returns, it is empty for every process.

        Specification, *Specification Details*. Who waits for a message waits on.

        :raises LayerUnavailable: if what carries the messages cannot be used; whether it was done is unknown.
        """
        await self._flush()

    async def close(self) -> None:
        """Give back all that the layer holds; waiting receives end with ``LayerClosed``. Any verb starts it afresh."""
        await self._close()

    async def __aenter__(self: _Layer) -> _Layer:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A layer that was written against Channels' base class has no close(), and nothing that would need it.
        if type(self).close is not BaseChannelLayer.close or type(self)._close is not BaseChannelLayer._close:
            await self.close()

    def statistics(self) -> Statistics:
        """What this layer object has counted until now; see :class:`~channel_layers.statistics.Statistics`.

        Not for signal handlers, which may interrupt the layer while it holds its lock: use ``loop.add_signal_handler``.
        """
        return self._statistics()

    def serialize(self, message: dict[str, Any]) -> Any:
        """Turn a message into what the backend carries: here a checked copy; a wire overrides this to make bytes.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        return plain_copy(message)

    def deserialize(self, payload: Any) -> dict[str, Any]:
        """Turn what the backend carried into a message that nobody else holds."""
        return fresh_copy(payload)

    # Hooks: what a backend fills in. Names are legal and messages encoded when they get here. All are coroutine
    # functions as a rule; the two that send, and the one that adds to a group, may be plain ones where they need not
    # wait, which saves a coroutine each time.

    def _send(self, channel: str, payload: Any) -> Awaitable[None] | None:
        """Store the payload for the channel; ``ChannelFull`` if it holds ``get_capacity(channel)`` unread ones."""
        self._missing("send")

    def _claim(self, channel: str) -> Any:
        """Take a payload that is here already, or return None. ``receive()`` asks this first, in its own thread, to
        spare a coroutine. May be left out; then ``_receive`` is asked at once.
        """
        return None

    async def _receive(self, channel: str) -> Any:
        """Wait for the next payload of a channel, or of a ``prefix!``; when cancelled, lose none."""
        self._missing("receive")

    async def _new_channel(self, prefix: str) -> str:
        """A fresh process-specific name. It is as long as you make it: check it with ``require_valid_channel_name``."""
        self._missing("new_channel")

    async def _discard_channel(self, channel: str) -> None:
        """Drop the channel's unread payloads and its memberships."""
        self._missing("discard_channel")

    def _group_add(self, group: str, channel: str) -> Awaitable[None] | None:
        """Make the channel a member from now on, for ``group_expiry`` seconds."""
        self._missing("group_add")

    async def _group_discard(self, group: str, channel: str) -> None:
        """End the membership, if there is one."""
        self._missing("group_discard")

    def _group_send(self, group: str, payload: Any) -> Awaitable[None] | None:
        """Store the payload for every member of now; leave out, and count, those that are full."""
        self._missing("group_send")

    async def _flush(self) -> None:
        """Drop all payloads and memberships, for every process."""
        self._missing("flush")

    async def _close(self) -> None:
        """Give back what the layer holds; end waiting receives with ``LayerClosed``."""
        self._missing("close")

    def _statistics(self) -> Statistics:
        """Count: the sender's half is ``self._sent.read()``, the other half is what your inbox saw."""
        self._missing("statistics")

    def _after_fork(self) -> None:
        """Called in the child after ``fork()``: what the parent's threads held and locked there is to be made anew."""

    def _missing(self, verb: str) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__} implements neither {verb}() nor its hook _{verb}()")


def require_seconds(option: str, value: Any) -> float:
    """Return ``value`` if it is a number of seconds above zero.

    :raises InvalidChannelLayerError: naming the option.
    """
    kind = type(value)
    if issubclass(kind, (int, float)) and kind is not bool:
        # A subclass may compare as it likes.
        plain = int.__int__(value) if issubclass(kind, int) else float.__float__(value)
        if 0 < plain <= _LONGEST:
            return plain
    wanted = "a number of seconds above 0 and of at most a hundred years"
    raise InvalidChannelLayerError(f"{option} must be {wanted}, not {shown(value)}")


_LONGEST = 100 * 365 * 86_400.0


# By identity: a layer may define what it is equal to.
_all_layers: weakref.WeakValueDictionary[int, BaseChannelLayer] = weakref.WeakValueDictionary()


def _start_anew_after_fork() -> None:
    for layer in tuple(_all_layers.values()):
        layer._forget_names()
        layer._sent = SentCounts()
        try:
            layer._after_fork()
        except Exception:
            logger.exception("%s does not survive fork(); other layers do", type(layer).__name__)


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_start_anew_after_fork)
