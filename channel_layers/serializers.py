"""How a message becomes bytes, and a message again.

A serializer is two functions. Both run in the process of the caller: ``encode`` once for each send, however many
members a group has; ``decode`` once for each receiver, so that no two of them share an object.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

from .messages import plain_copy


class Serializer(Protocol):
    """What a backend needs to carry messages over a wire."""

    def encode(self, message: Any, /) -> bytes:
        """Turn a message into bytes.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        ...

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        """Turn bytes into a message that nobody else holds."""
        ...


class JsonSerializer:
    """Bytes from the standard library alone: compact JSON in UTF-8.

    JSON has no byte strings: they travel as base64 text behind the character U+FFFF, and text that begins with that
    character gets a second one in front (specification, *Strings and Unicode*).
    """

    def encode(self, message: Any, /) -> bytes:
        return json.dumps(_boxed(plain_copy(message)), separators=(",", ":"), ensure_ascii=False).encode()

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        message: dict[str, Any] = _unboxed(json.loads(payload))
        return message


_BOX = "\uffff"


def _boxed(value: Any) -> Any:
    if isinstance(value, str):
        return _BOX + value if value.startswith(_BOX) else value
    if isinstance(value, bytes):
        return _BOX + "=" + base64.b64encode(value).decode("ascii")
    if isinstance(value, dict):
        return {key: _boxed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_boxed(item) for item in value]
    return value


def _unboxed(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_BOX):
        return base64.b64decode(value[2:]) if value.startswith(_BOX + "=") else value[1:]
    if isinstance(value, dict):
        return {key: _unboxed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unboxed(item) for item in value]
    return value
