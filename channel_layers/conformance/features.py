"""What a layer claims to do, and so which tests of the suite run on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal


def _claim(default: Any, otherwise: str, choices: tuple[Any, ...] = (True, False)) -> Any:
    """A field of :class:`Features`: its default, why tests are skipped without it, and the values it can have."""
    return field(default=default, metadata={"otherwise": otherwise, "choices": choices})


@dataclass(frozen=True)
class Features:
    """The claims of a layer. Each default is what the contract of a channel layer asks for; deny what yours leaves out.

    A test that needs a claim which is denied is skipped, and the reason names the field; what the specification demands
    of every layer cannot be denied. No field weakens a test.
    """

    # Who shares channels and groups

    #: Layers in several processes, made with the same options, share channels and groups.
    cross_process: bool = _claim(True, "processes do not share channels")

    #: Two layer objects in one process, made with the same options, share channels and groups; then the sender and the
    #: receiver of every test are two objects. None: as ``cross_process`` says.
    cross_instance: bool | None = _claim(None, "layer objects do not share channels", (True, False, None))

    #: ``receive()`` on a process-specific channel of another layer object is a ``ValueError``.
    owned_channels: bool = _claim(True, "any layer object may receive on any channel")

    # Channels

    #: Normal channels, those without ``!``, work, and any number of receivers share their messages.
    normal_channels: bool = _claim(True, "there are no normal channels")

    #: Messages on a normal channel wait for a receiver that comes later.
    waiting: bool = _claim(True, "a message on a normal channel reaches only who waits already")

    #: A ``receive()`` that waits is woken, and does not look again and again.
    no_polling: bool = _claim(True, "a receive that waits may look again and again")

    #: ``receive("prefix!")`` takes any message under that prefix, in order of arrival.
    prefix_receive: bool = _claim(True, "receive() does not take the prefix of a process")

    #: One reader gets what one writer sends to a channel, or to a group, in that order.
    ordered: bool = _claim(True, "messages come in any order")

    #: That order holds on normal channels, too, for one reader. (The specification lets a layer deny it.)
    ordered_normal: bool = _claim(True, "messages of a normal channel come in any order")

    #: That order holds also between direct and group messages of one writer, and between the channels of a process.
    ordered_together: bool = _claim(True, "direct and group messages, or messages to several channels, may overtake")

    #: ``new_channel(prefix)`` takes the beginning of the name.
    channel_prefix: bool = _claim(True, "new_channel() takes no prefix")

    #: ``discard_channel(name)`` ends a channel: its messages and its memberships.
    discard_channel: bool = _claim(True, "there is no discard_channel()")

    # Names and messages

    #: Names are checked by every verb, by the rules of the contract.
    name_rules: bool = _claim(True, "names are not checked, or by other rules")

    #: What is not in the specification's list of types is refused by ``send`` and ``group_send``, with a TypeError.
    message_types: bool = _claim(True, "foreign types are not refused")

    #: Values of subclasses of the allowed types, and bytearrays, arrive as the plain type.
    plain_types: bool = _claim(True, "subclasses and bytearrays need not arrive as plain types")

    #: The refusal of a value names its path, such as ``message["user"]["id"]``.
    message_paths: bool = _claim(True, "a refusal does not name the path of the value")

    #: Messages of more than 1,048,576 bytes as JSON raise ``layer.MessageTooLarge``. (Messages of up to that size pass
    #: in every layer: the specification demands it.)
    size_limit: bool = _claim(True, "there is no limit to the size of a message, or a higher one")

    #: Messages may be nested to 128 levels, and deeper ones are refused.
    depth_limit: bool = _claim(True, "there is no limit to the depth of a message, or another one")

    # Capacity

    #: What the option ``capacity`` bounds: the unread messages of each channel by its full name (``"channel"``), of
    #: all channels under one ``prefix!`` together (``"process"``, the text of the specification), or nothing (None).
    capacity: Literal["channel", "process"] | None = _claim(
        "channel", "unread messages are not bounded", ("channel", "process", None)
    )

    #: The option ``channel_capacity`` gives some channels another capacity, by glob or regular expression.
    channel_capacity: bool = _claim(True, "all channels have the same capacity")

    #: A layer object raises ``ChannelFull`` also for the channels of others. If not, the tests of capacity send with
    #: the object that receives.
    remote_capacity: bool = _claim(True, "only the receiver's own object knows that a channel is full")

    # Time

    #: The option ``expiry`` works: messages that nobody read for that many seconds are never delivered.
    expiry: bool = _claim(True, "unread messages do not expire")

    #: ``expiry`` may be a fraction of a second. If not, the tests of expiry use whole seconds, and take longer.
    sub_second_expiry: bool = _claim(True, "expiry is counted in whole seconds")

    # Extensions

    #: The extension ``groups`` works. None: as ``layer.extensions`` says.
    groups: bool | None = _claim(None, "there are no groups", (True, False, None))

    #: The extension ``flush`` works. None: as ``layer.extensions`` says.
    flush: bool | None = _claim(None, "there is no flush()", (True, False, None))

    #: The moment at which a channel must be a member to get a group message: when it is sent, or when it is delivered.
    membership: Literal["send", "delivery"] = _claim("send", "membership means nothing", ("send", "delivery"))

    #: The option ``group_expiry`` works.
    group_expiry: bool = _claim(True, "memberships do not expire")

    #: ``group_expiry`` may be a fraction of a second. If not, its tests use whole seconds, and take longer.
    sub_second_group_expiry: bool = _claim(True, "group_expiry is counted in whole seconds")

    #: ``group_expiry`` may be None: a membership lasts as long as the process.
    endless_membership: bool = _claim(True, "group_expiry may not be None")

    #: A membership outlives unread messages of its channel that expire. (The specification lets a layer end it then.)
    steady_membership: bool = _claim(True, "a membership may end when a message expires")

    # Life of a layer

    #: ``close()`` ends waiting receives with ``channel_layers.LayerClosed``, and ``async with`` closes.
    closing: bool = _claim(True, "close() does not end waiting receives with LayerClosed")

    #: A layer can be used again after ``close()``.
    restartable: bool = _claim(True, "a closed layer stays closed")

    #: One layer object works in several event loops, one after the other and at once.
    loops: bool = _claim(True, "a layer object belongs to one event loop")

    #: One layer object works in several threads at once, each with a loop of its own.
    threads: bool = _claim(True, "a layer object belongs to one thread")

    #: A layer made before ``fork()`` works in both processes, with names of its own in each.
    fork: bool = _claim(True, "a layer does not survive fork()")

    #: ``statistics()`` returns a frozen record that balances, as :class:`channel_layers.statistics.Statistics` says.
    statistics: bool = _claim(True, "there is no statistics()")

    #: Messages that full members miss are logged as a warning of the logger ``channel_layers``, once for each burst.
    drop_log: bool = _claim(True, "drops are not logged so")

    #: What was delivered, refused, dropped or has expired takes no memory, and neither does a layer that was closed.
    lets_go: bool = _claim(True, "memory is not bounded")

    # How the suite works

    #: Seconds that anything which must happen may take. No test waits that long unless it fails.
    deadline: float = field(default=10.0, metadata={"otherwise": "", "choices": ()})

    def __post_init__(self) -> None:
        for each in fields(self):
            value, choices = getattr(self, each.name), each.metadata["choices"]
            if choices and not any(type(value) is type(choice) and value == choice for choice in choices):
                raise ValueError(f"feature {each.name!r} must be {_either(choices)}, not {value!r}")
        if isinstance(self.deadline, bool) or not isinstance(self.deadline, (int, float)) or not self.deadline > 0:
            raise ValueError(f"feature 'deadline' must be a number of seconds above 0, not {self.deadline!r}")

    @classmethod
    def from_mapping(cls, claims: Any) -> Features:
        """Features from a dict, such as one from JSON; what it does not name keeps its default.

        :raises ValueError: naming the feature that is unknown, or whose value is not one of its values.
        """
        if not isinstance(claims, Mapping):
            raise ValueError(f"features must be a dict from feature to value, not {claims!r}")
        known = [each.name for each in fields(cls)]
        for name in claims:
            if name not in known:
                raise ValueError(f"there is no feature {name!r}; the features are {', '.join(known)}")
        return cls(**claims)

    @property
    def shares_between_instances(self) -> bool:
        """``cross_instance``, with None resolved."""
        return self.cross_process if self.cross_instance is None else self.cross_instance

    def why_not(self, claim: str, extensions: list[str]) -> str | None:
        """Why a layer with these ``extensions`` does not make a claim; None if it does.

        :param claim: the name of a field that must be true, or ``"name=value"``.
        """
        name, _, wanted = claim.partition("=")
        value = getattr(self, name)
        if value is None and name in ("groups", "flush"):
            value = name in extensions
        elif name == "cross_instance":
            value = self.shares_between_instances
        if wanted and value is not None:
            return None if value == wanted else f"not claimed: {name} is {value!r}, this test is for {wanted!r}"
        if value:
            return None
        return f"not claimed: {name} is {value!r}, {self.__dataclass_fields__[name].metadata['otherwise']}"


def _either(choices: tuple[Any, ...]) -> str:
    return " or ".join(json.dumps(choice) for choice in choices)
