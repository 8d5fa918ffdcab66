"""Layers that break a rule of how large a message may be."""

from __future__ import annotations

import base64
import json
from typing import Any

from channel_layers.exceptions import MessageTooLarge
from channel_layers.messages import MESSAGE_LIMIT, fresh_copy, json_size, plain_copy

from .base import BrokenLayer


class _Measures(BrokenLayer):
    """Measures a message differently."""

    def serialize(self, message: dict[str, Any]) -> Any:
        try:
            plain = plain_copy(message)
        except MessageTooLarge as error:
            if error.size is None or self.size(message, error.size) > MESSAGE_LIMIT:
                raise
            return fresh_copy(message)
        if _may_be_large(plain) and self.size(plain, json_size(plain)) > MESSAGE_LIMIT:
            raise MessageTooLarge(None, MESSAGE_LIMIT)
        return plain

    def size(self, message: dict[str, Any], exact: int) -> int:
        raise NotImplementedError


def _may_be_large(message: dict[str, Any]) -> bool:
    return any(isinstance(value, (str, bytes, list, dict)) and len(value) > 1000 for value in message.values())


class AnySizeAllowed(
    _Measures,
    caught_by="test_one_byte_more_is_refused test_the_limit_holds_for_groups",
    also="StatisticsTests",
):
    """Size: no limit."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        return 0


class SharedListsCountOnce(BrokenLayer, caught_by="test_shared_lists_count_as_often_as_they_stand"):
    """Size: a list counts as often as it stands in the message; here once."""

    def serialize(self, message: dict[str, Any]) -> Any:
        try:
            return plain_copy(message)
        except MessageTooLarge as error:
            if error.size is not None:
                raise
            return dict(message)


class OneByteMoreAllowed(
    _Measures,
    caught_by="test_one_byte_more_is_refused test_the_limit_holds_for_groups",
    also="StatisticsTests",
):
    """Size: a message of one byte too many passes."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        return exact - 1


class LargestMessageRefused(_Measures, caught_by="test_the_largest_message_arrives test_the_limit_holds_for_groups"):
    """Size: a message of exactly the largest size is refused."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        return exact + 1


class CharactersCountedAsBytes(_Measures, caught_by="test_one_byte_more_is_refused"):
    """Size: the bytes of text in UTF-8 count; here its characters."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, default=base64_text)
        return len(text)


class BytesCountedRaw(_Measures, caught_by="test_one_byte_more_is_refused"):
    """Size: byte strings count as base64; here as they are."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        raw = [value for value in message.values() if isinstance(value, bytes)]
        return exact - sum(len(base64_text(value)) - len(value) for value in raw)


class EscapesCounted(_Measures, caught_by="test_the_largest_message_arrives"):
    r"""Size: text counts in UTF-8; here every character beyond ASCII as an escape (\u00e9)."""

    def size(self, message: dict[str, Any], exact: int) -> int:
        return len(json.dumps(message, separators=(",", ":"), default=base64_text))


def base64_text(value: bytes) -> str:
    return base64.b64encode(value).decode()
