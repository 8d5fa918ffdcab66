"""Layers that lack an attribute of the specification, or have another in its place."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar, NoReturn

from .base import BrokenLayer


class SendIsNoCoroutineFunction(BrokenLayer, caught_by="test_verbs_are_coroutine_functions", also="LoopTests"):
    """send is a coroutine function: here a plain one that returns an awaitable."""

    def send(self, channel: str, message: dict[str, Any]) -> Awaitable[None]:  # type: ignore[override]
        return super().send(channel, message)


class GroupSendIsNoCoroutineFunction(
    BrokenLayer,
    caught_by="test_group_verbs_are_coroutine_functions",
    also="LoopTests",
):
    """group_send is a coroutine function: here a plain one that returns an awaitable."""

    def group_send(self, group: str, message: dict[str, Any]) -> Awaitable[None]:  # type: ignore[override]
        return super().group_send(group, message)


class FlushIsNoCoroutineFunction(BrokenLayer, caught_by="test_flush_is_a_coroutine_function"):
    """flush is a coroutine function: here a plain one that returns an awaitable."""

    def flush(self) -> Awaitable[None]:  # type: ignore[override]
        return super().flush()


class ExtensionsAreATuple(BrokenLayer, caught_by="test_extensions_are_a_list_of_names"):
    """extensions is a list: here a tuple."""

    extensions: ClassVar[Any] = ("groups", "flush")


class _Missing:
    def __get__(self, layer: object, kind: type) -> NoReturn:
        raise AttributeError("there is no such attribute")


class HasNoChannelFull(BrokenLayer, caught_by="test_channel_full_is_an_attribute"):
    """ChannelFull is an attribute, an exception: here there is none."""

    ChannelFull: ClassVar[Any] = _Missing()


class HasNoMessageTooLarge(BrokenLayer, caught_by="test_message_too_large_is_an_attribute"):
    """MessageTooLarge is an attribute, an exception: here there is none."""

    MessageTooLarge: ClassVar[Any] = _Missing()


class GroupExpiryIsHidden(BrokenLayer, caught_by="test_group_expiry_is_an_attribute"):
    """group_expiry is an attribute, the number of seconds: here None, whatever the option says."""

    @property
    def group_expiry(self) -> Any:  # type: ignore[override]
        return None

    @group_expiry.setter
    def group_expiry(self, seconds: Any) -> None:
        self._group_expiry = seconds

    def _break(self) -> None:
        super()._break()
        self._groups = self.GroupsType(self._group_expiry)
