"""Layers that break a rule of names."""

from __future__ import annotations

import re
from typing import Any

from channel_layers.names import new_channel_name

from .base import BrokenLayer


class NewlineAllowed(
    BrokenLayer,
    caught_by="test_illegal_channel_name test_illegal_group_name test_a_refused_name_changes_nothing",
):
    """Names are matched to the end: here a newline may follow."""

    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+(?:![a-zA-Z0-9\-_.]*)?$")
    group_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+$")


class LongerNamesAllowed(BrokenLayer, caught_by="test_illegal_channel_name test_illegal_group_name"):
    """Names have 100 characters at the most: here 101."""

    MAX_NAME_LENGTH = 101


class LongestNameRefused(
    BrokenLayer,
    caught_by="test_legal_channel_name test_legal_specific_name test_legal_group_name",
):
    """Names may have 100 characters: here 99."""

    MAX_NAME_LENGTH = 99


class EmptyNamesAllowed(BrokenLayer, caught_by="test_illegal_channel_name test_illegal_group_name"):
    """Names have at least one character: here none will do."""

    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.]*(?:![a-zA-Z0-9\-_.]*)?\Z")
    group_name_regex = re.compile(r"[a-zA-Z0-9\-_.]*\Z")

    def match_type_and_length(self, name: Any) -> bool:
        return isinstance(name, str) and len(name) <= self.MAX_NAME_LENGTH

    def _admit_own_channel(self, channel: Any) -> str:
        name = super()._admit_own_channel(channel)
        if not name:
            raise ValueError("nothing was ever sent there")
        return name


class TwoMarksAllowed(BrokenLayer, caught_by="test_illegal_channel_name test_any_string_is_a_name_or_refused"):
    """A channel name holds one "!" at the most: here two."""

    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+(?:![a-zA-Z0-9\-_.]*){0,2}\Z")


class MarksInGroupNamesAllowed(BrokenLayer, caught_by="test_illegal_group_name"):
    """A group name holds no "!": here it may."""

    group_name_regex = BrokenLayer.channel_name_regex


class QuestionMarksAllowed(BrokenLayer, caught_by="test_illegal_channel_name test_illegal_group_name"):
    """Names hold no "?": here they may."""

    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.?]+(?:![a-zA-Z0-9\-_.?]*)?\Z")
    group_name_regex = re.compile(r"[a-zA-Z0-9\-_.?]+\Z")


class ForeignDigitsAllowed(
    BrokenLayer,
    caught_by="test_illegal_channel_name test_illegal_group_name test_new_channel_refuses_a_bad_prefix",
):
    """Names are ASCII: here digits and letters of any alphabet will do."""

    channel_name_regex = re.compile(r"[\w\-.]+(?:![\w\-.]*)?\Z")
    group_name_regex = re.compile(r"[\w\-.]+\Z")


class BytesAllowed(BrokenLayer, caught_by="test_illegal_channel_name test_illegal_group_name"):
    """Names are str: here bytes are decoded."""

    def _admit_channel(self, channel: Any) -> str:
        return super()._admit_channel(channel.decode() if isinstance(channel, bytes) else channel)

    def _admit_own_channel(self, channel: Any) -> str:
        return super()._admit_own_channel(channel.decode() if isinstance(channel, bytes) else channel)

    def _admit_group(self, group: Any) -> str:
        return super()._admit_group(group.decode() if isinstance(group, bytes) else group)


class HyphensRefused(
    BrokenLayer,
    caught_by="test_legal_channel_name test_legal_group_name test_legal_specific_name",
    also="CapacityTests NewChannelTests",
):
    """Names may hold hyphens: here they may not."""

    channel_name_regex = re.compile(r"[a-zA-Z0-9_.]+(?:![a-zA-Z0-9_.]*)?\Z")
    group_name_regex = re.compile(r"[a-zA-Z0-9_.]+\Z")


class BadNamesAreValueErrors(
    BrokenLayer,
    caught_by="test_illegal_channel_name test_illegal_group_name",
    also="StatisticsTests",
):
    """A bad name is a TypeError: here a ValueError."""

    def require_valid_channel_name(self, name: Any, receive: bool = False) -> bool:
        try:
            return super().require_valid_channel_name(name, receive)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def require_valid_group_name(self, name: Any) -> bool:
        try:
            return super().require_valid_group_name(name)
        except TypeError as error:
            raise ValueError(str(error)) from None


class BadNamesAreNotExplained(BrokenLayer, caught_by="test_a_refusal_says_what_is_allowed"):
    """A bad name's TypeError says what is allowed: here nothing."""

    invalid_name_error = "bad {}"


class ReceiveDoesNotCheck(BrokenLayer, caught_by="test_illegal_channel_name"):
    """Every verb refuses a bad name: here receive looks at nothing but the owner."""

    def _admit_own_channel(self, channel: Any) -> str:
        if not self._may_receive(channel):
            raise ValueError(channel)
        if not self.channel_name_regex.match(channel):
            raise ValueError(channel)
        return str(channel)


class LeavingDoesNotCheck(BrokenLayer, caught_by="test_illegal_channel_name test_illegal_group_name"):
    """Every verb refuses a bad name: here group_discard takes any."""

    async def group_discard(self, group: str, channel: str) -> None:
        await self._group_discard(group, channel)


class NewChannelDoesNotCheck(BrokenLayer, caught_by="test_new_channel_refuses_a_bad_prefix"):
    """Every verb refuses a bad name: here new_channel makes names that no other verb takes."""

    async def new_channel(self, prefix: str = "specific") -> str:
        return new_channel_name(prefix, self._client_id)


class DiscardChannelDoesNotCheck(BrokenLayer, caught_by="test_illegal_channel_name"):
    """Every verb refuses a bad name: here discard_channel takes any."""

    async def discard_channel(self, channel: str) -> None:
        await self._discard_channel(channel)
