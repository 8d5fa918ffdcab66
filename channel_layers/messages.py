"""What a message may hold, how large it may be, and the one pass that checks and copies it.

Specification, *Messages*: a ``dict`` of byte strings, Unicode strings, 64-bit integers, floats, lists, dicts with
``str`` keys, booleans and None. Every backend refuses the same values at ``send()``, so that what works in memory works
on any wire.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from .exceptions import InvalidMessage, MessageTooLarge

#: Bytes of compact JSON (UTF-8, bytes as base64) that a message may take.
MESSAGE_LIMIT = 1_048_576

#: Levels of dicts and lists, the message itself being the first.
MAX_DEPTH = 128

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
_ALLOWED = "a message holds dict (with str keys), list, tuple, str, bytes, int, float, bool and None"

# The cheap bound on the size in JSON: a character takes six bytes at the most (\u0000), everything else of an entry
# (its punctuation, a number of up to 24 digits) 30. No entry takes less than a fifteenth of its bound: 2 for "0,".
_PER_CHARACTER = 6
_PER_ENTRY = 30
_SURELY_TOO_LARGE = 15 * MESSAGE_LIMIT


class _Fault(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong with a value; the steps of its path are added while the exception climbs out of the message."""

    def __init__(self, problem: str, *, of_key: bool = False) -> None:
        self.problem = problem
        self.of_key = of_key  # then the path ends at the dict that holds the key
        self.steps: list[str] = []

    def climb(self, key: str | int) -> None:
        if self.of_key:
            self.of_key = False
        else:
            self.steps.append(f"[{json.dumps(key, ensure_ascii=False)}]")

    def as_invalid_message(self) -> InvalidMessage:
        return InvalidMessage("message" + "".join(reversed(self.steps)), self.problem)


def plain_copy(message: Any) -> dict[str, Any]:
    """Check a message and copy it into plain types that share nothing mutable with it.

    :raises InvalidMessage: naming the path of what no backend could carry.
    :raises MessageTooLarge: for more than ``MESSAGE_LIMIT`` bytes as compact JSON.
    """
    copy: dict[str, Any]
    if message.__class__ is dict:
        # The usual message, a few strings and numbers, is checked without a call for each value.
        copy = message.copy()
        characters = 0
        for key, value in copy.items():
            kind = value.__class__
            if key.__class__ is str is kind and key.isascii() and value.isascii():
                characters += len(key) + len(value)
            elif kind is int and _INT_MIN <= value <= _INT_MAX and key.__class__ is str and key.isascii():
                characters += len(key)
            else:
                break
        else:
            if _PER_CHARACTER * characters + _PER_ENTRY * len(copy) <= MESSAGE_LIMIT:
                return copy
    elif not isinstance(message, dict):
        raise InvalidMessage("message", f"{type(message).__name__} is not a dict")
    try:
        copy, bound = _copy_dict(message, 1, 0)
    except _Fault as fault:
        raise fault.as_invalid_message() from None
    if bound > MESSAGE_LIMIT:
        size = json_size(copy)
        if size > MESSAGE_LIMIT:
            raise MessageTooLarge(size, MESSAGE_LIMIT)
    return copy


def is_flat(message: dict[str, Any]) -> bool:
    """Whether a plain message holds neither dict nor list, so that ``dict.copy`` copies it whole."""
    return not any(value.__class__ is dict or value.__class__ is list for value in message.values())


def fresh_copy(message: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of a message that :func:`plain_copy` made; nothing is checked again."""
    return {key: _fresh(value) for key, value in message.items()}


def json_size(message: dict[str, Any]) -> int:
    """The exact number of bytes of a plain message as compact JSON in UTF-8, byte strings counted as base64."""
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, default=_as_base64)
    return len(text.encode())


def _fresh(value: Any) -> Any:
    if value.__class__ is dict:
        return {key: _fresh(item) for key, item in value.items()}
    if value.__class__ is list:
        return [_fresh(item) for item in value]
    return value


def _as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _copy_dict(source: dict[Any, Any], depth: int, bound: int) -> tuple[dict[str, Any], int]:
    copy: dict[str, Any] = {}
    key: Any = None
    try:
        for key, value in source.items():
            plain_key = _plain_key(key)
            bound += _PER_CHARACTER * len(plain_key)
            copy[plain_key], bound = _copy_value(value, depth, bound)
    except _Fault as fault:
        fault.climb(key)
        raise
    return copy, bound + _PER_ENTRY * len(copy)


def _copy_list(source: list[Any] | tuple[Any, ...], depth: int, bound: int) -> tuple[list[Any], int]:
    copy = []
    try:
        for value in source:
            plain, bound = _copy_value(value, depth, bound)
            copy.append(plain)
    except _Fault as fault:
        fault.climb(len(copy))
        raise
    return copy, bound + _PER_ENTRY * len(copy)


def _copy_value(value: Any, depth: int, bound: int) -> tuple[Any, int]:
    """Any value: subclasses of the allowed types become the plain type, everything else is a fault."""
    plain: Any
    if value is None or isinstance(value, bool):
        plain = value
    elif isinstance(value, str):
        _require_encodable(value)
        plain = str.__str__(value)
        bound += _PER_CHARACTER * len(plain)
    elif isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise _Fault("int outside the signed 64-bit range")
        plain = int.__int__(value)
    elif isinstance(value, float):
        plain = float.__float__(value)
    elif isinstance(value, (bytes, bytearray)):
        plain = bytes(memoryview(value))
        bound += 4 * len(plain) // 3
    elif isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            raise _Fault(f"nested deeper than {MAX_DEPTH} levels")
        if bound > _SURELY_TOO_LARGE:  # a few lists that share their items can hold an exponential number of values
            raise MessageTooLarge(None, MESSAGE_LIMIT)
        if isinstance(value, dict):
            plain, bound = _copy_dict(value, depth + 1, bound)
        else:
            plain, bound = _copy_list(value, depth + 1, bound)
    else:
        raise _Fault(f"{type(value).__name__} cannot be sent; {_ALLOWED}")
    return plain, bound


def _plain_key(key: Any) -> str:
    if not isinstance(key, str):
        raise _Fault(f"key {key!r} is {type(key).__name__}; keys must be str", of_key=True)
    try:
        _require_encodable(key)
    except _Fault as fault:
        raise _Fault(f"key {key!r}: {fault.problem}", of_key=True) from None
    return str.__str__(key)


def _require_encodable(text: str) -> None:
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        raise _Fault(f"str with a lone surrogate at index {error.start}, which UTF-8 cannot encode") from None
