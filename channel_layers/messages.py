"""What a message may hold, how large it may be, and the one pass that checks and copies it.

Specification, *Messages*: a ``dict`` of byte strings, Unicode strings, 64-bit integers, floats, lists, dicts with
``str`` keys, booleans and None. Every backend refuses the same values at ``send()``, so that what works in memory works
on any wire.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from typing import Any

from .checks import plain_str, shown
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
            short = plain_str(key) if isinstance(key, str) else key
            if isinstance(short, str) and len(short) > 60:
                short = f"{short[:57]}..."
            self.steps.append(f"[{json.dumps(short, ensure_ascii=False)}]")

    def as_invalid_message(self) -> InvalidMessage:
        return InvalidMessage("message" + "".join(reversed(self.steps)), self.problem)


def plain_copy(message: Any) -> dict[str, Any]:
    """Check a message and copy it into plain types that share nothing mutable with it.

    :raises InvalidMessage: naming the path of what no backend could carry.
    :raises MessageTooLarge: for more than ``MESSAGE_LIMIT`` bytes as compact JSON.
    """
    copy: dict[str, Any]
    # Here and below it is type() that decides, not isinstance(): lazy objects and mocks lie about their __class__.
    if type(message) is dict:
        # The usual message, a few strings and numbers, is checked without a call for each value.
        copy = message.copy()
        characters = 0
        for key, value in copy.items():
            kind = type(value)
            if type(key) is str is kind and key.isascii() and value.isascii():
                characters += len(key) + len(value)
            elif kind is int and _INT_MIN <= value <= _INT_MAX and type(key) is str and key.isascii():
                characters += len(key)
            else:
                break
        else:
            if _PER_CHARACTER * characters + _PER_ENTRY * len(copy) <= MESSAGE_LIMIT:
                return copy
    elif not issubclass(type(message), dict):
        raise InvalidMessage("message", f"{type(message).__name__} is not a dict")
    try:
        copy, bound = _copy_dict(message, 1, 0)
    except _Fault as fault:
        raise fault.as_invalid_message() from None
    if bound > _SURELY_TOO_LARGE:
        raise MessageTooLarge(None, MESSAGE_LIMIT)
    if bound > MESSAGE_LIMIT:
        size = json_size(copy)
        if size > MESSAGE_LIMIT:
            raise MessageTooLarge(size, MESSAGE_LIMIT)
    return copy


def is_flat(message: dict[str, Any]) -> bool:
    """Whether a plain message holds neither dict nor list, so that ``dict.copy`` copies it whole."""
    return not any(type(value) is dict or type(value) is list for value in message.values())


def fresh_copy(message: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of a message that :func:`plain_copy` made; nothing is checked again.

    :raises ValueError: for one that was not made there, and is nested so deeply that Python cannot copy it.
    """
    try:
        return {key: _fresh(value) for key, value in message.items()}
    except RecursionError:
        raise ValueError(f"the message is nested deeper than {MAX_DEPTH} levels: no layer has sent it") from None


def json_size(message: dict[str, Any]) -> int:
    """The exact number of bytes of a plain message as compact JSON in UTF-8, byte strings counted as base64."""
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False, default=_as_base64)
    return len(text.encode())


def _fresh(value: Any) -> Any:
    if type(value) is dict:
        return {key: _fresh(item) for key, item in value.items()}
    if type(value) is list:
        return [_fresh(item) for item in value]
    return value


def _as_base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _copy_dict(source: dict[Any, Any], depth: int, bound: int) -> tuple[dict[str, Any], int]:
    copy: dict[str, Any] = {}
    key: Any = None
    try:
        for key, value in _items(source):
            plain_key = _plain_key(key)
            bound += _PER_CHARACTER * len(plain_key)
            copy[plain_key], bound = _copy_value(value, depth, bound)
    except _Fault as fault:
        fault.climb(key)
        raise
    return copy, bound + _PER_ENTRY * len(copy)


def _copy_list(source: list[Any] | tuple[Any, ...], depth: int, bound: int) -> tuple[list[Any], int]:
    copy: list[Any] = []
    try:
        for value in list.__iter__(source) if isinstance(source, list) else tuple.__iter__(source):
            plain, bound = _copy_value(value, depth, bound)
            copy.append(plain)
    except _Fault as fault:
        fault.climb(len(copy))
        raise
    return copy, bound + _PER_ENTRY * len(copy)


def _copy_value(value: Any, depth: int, bound: int) -> tuple[Any, int]:
    """Any value: subclasses of the allowed types become the plain type, everything else is a fault."""
    kind = type(value)
    plain: Any
    if value is None or kind is bool:
        plain = value
    elif issubclass(kind, str):
        plain = str.__str__(value)
        _require_encodable(plain)
        bound += _PER_CHARACTER * len(plain)
    elif issubclass(kind, int):
        plain = int.__int__(value)
        if not _INT_MIN <= plain <= _INT_MAX:
            raise _Fault("int outside the signed 64-bit range")
    elif issubclass(kind, float):
        plain = float.__float__(value)
    elif issubclass(kind, (bytes, bytearray)):
        plain = bytes(memoryview(value))
        bound += 4 * len(plain) // 3
    elif issubclass(kind, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            raise _Fault(f"nested deeper than {MAX_DEPTH} levels")
        if bound > _SURELY_TOO_LARGE:  # a few lists that share their items can hold an exponential number of values
            raise MessageTooLarge(None, MESSAGE_LIMIT)
        copy_container: Any = _copy_dict if issubclass(kind, dict) else _copy_list
        plain, bound = copy_container(value, depth + 1, bound)
    else:
        raise _Fault(f"{kind.__name__} cannot be sent; {_ALLOWED}")
    return plain, bound


def _items(source: dict[Any, Any]) -> Any:
    """The items as they are stored, whatever a subclass made of ``items()``; an OrderedDict in its own order."""
    return OrderedDict.items(source) if isinstance(source, OrderedDict) else dict.items(source)


def _plain_key(key: Any) -> str:
    if not issubclass(type(key), str):
        raise _Fault(f"key {shown(key)} is {type(key).__name__}; keys must be str", of_key=True)
    plain = str.__str__(key)
    try:
        _require_encodable(plain)
    except _Fault as fault:
        raise _Fault(f"key {shown(plain)}: {fault.problem}", of_key=True) from None
    return plain


def _require_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"str with a lone surrogate at index {error.start}, which UTF-8 cannot encode") from None
