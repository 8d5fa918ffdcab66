"""How a message becomes bytes, and a message again.

A serializer is two functions. Both run in the process of the caller: ``encode`` once for each send, however many
members a group has; ``decode`` once for each receiver, so that no two of them share an object. The option
``serializer_format`` of a layer names one of those that are registered here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Protocol

from .checks import checking, plain_str, shown
from .exceptions import InvalidChannelLayerError
from .extras import require_extra
from .messages import MAX_DEPTH, MESSAGE_LIMIT, plain_copy


class Serializer(Protocol):
    """What a backend needs to carry messages over a wire. Several threads may call one object at the same time."""

    def encode(self, message: Any, /) -> bytes:
        """Turn a message into bytes.

        :raises InvalidMessage: for a value that some backend could not carry, naming its path.
        :raises MessageTooLarge: for more than 1,048,576 bytes as compact JSON.
        """
        ...

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        """Turn bytes into a message that nobody else holds.

        :raises ValueError: for bytes that are no message in this format.
        """
        ...


class JsonSerializer:
    """Bytes from the standard library alone: compact JSON in UTF-8.

    JSON has no byte strings: they travel as base64 text behind the character U+FFFF, and text that begins with that
    character gets a second one in front (specification, *Strings and Unicode*).
    """

    def encode(self, message: Any, /) -> bytes:
        return json.dumps(_boxed(plain_copy(message)), separators=(",", ":"), ensure_ascii=False).encode()

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        try:
            message = _unboxed(json.loads(str(payload, "utf-8")))
        except (ValueError, RecursionError, MemoryError) as error:
            raise _undecodable("JSON", error) from error
        return _require_message("JSON", message)


class MsgpackSerializer:
    """Bytes in the compact binary format msgpack, which has byte strings of its own: smaller and faster than JSON.

    :raises InvalidChannelLayerError: if ``msgpack`` is not installed.
    """

    def __init__(self) -> None:
        msgpack = require_extra("msgpack", "redis", "serializer_format 'msgpack'")
        self._new_packer: Callable[[], _Packer] = msgpack.Packer
        self._unpack: Callable[[bytes], Any] = msgpack.unpackb
        # A packer serves one call at a time, and making one costs half as much as packing does. Who needs one takes it
        # out of this list, so that neither another thread nor a finalizer within this one can take the same.
        self._packers: list[_Packer] = []

    def encode(self, message: Any, /) -> bytes:
        if type(message) is dict and _room_left(message, MAX_DEPTH - 1, _SURELY_FITS) >= 0:
            try:
                packer = self._packers.pop()
            except IndexError:
                packer = self._new_packer()
            try:
                packed = packer.pack(message)
            except (ValueError, OverflowError, TypeError):
                pass  # a lone surrogate, or an int too far below zero: plain_copy() says where
            else:
                if len(packed) <= _SURELY_FITS:
                    self._packers.append(packer)
                    return packed
        plain = plain_copy(message)
        return self._new_packer().pack(plain)

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        try:
            message = self._unpack(payload)
        except ValueError as error:
            raise _undecodable("msgpack", error) from error
        return message if type(message) is dict else _require_message("msgpack", message)


def register_serializer(name: str, factory: Callable[[], Serializer]) -> None:
    """Give a serializer a name for the option ``serializer_format``, in place of what the name meant before.

    :param name: what the option will say.
    :param factory: a class, or any other callable without arguments; it is called once for each layer.
    :raises InvalidChannelLayerError: if the name is no string, or the factory cannot make a serializer.
    """
    if not issubclass(type(name), str) or not plain_str(name):
        raise InvalidChannelLayerError(f"the name of a serializer must be a non-empty str, not {shown(name)}")
    if not callable(factory):
        raise InvalidChannelLayerError(
            f"serializer {shown(name)}: {shown(factory)} cannot be called; give a class, or a function without "
            "arguments that makes a serializer"
        )
    with checking(f"serializer {shown(name)}"):
        if isinstance(factory, type):
            _require_methods(factory, f"serializer {shown(name)}: {shown(factory)}")
    _factories[plain_str(name)] = factory


def make_serializer(name: str) -> Serializer:
    """A new serializer of the given name.

    :param name: ``"msgpack"``, ``"json"``, or what :func:`register_serializer` was told.
    :raises InvalidChannelLayerError: if the name is unknown, or what it stands for makes no serializer.
    """
    option = f"serializer_format {shown(name)}"
    factory = _factories.get(plain_str(name)) if issubclass(type(name), str) else None
    if factory is None:
        known = ", ".join(map(repr, _factories))
        raise InvalidChannelLayerError(f"serializer_format must be one of {known}, not {shown(name)}")
    try:
        serializer = factory()
    except InvalidChannelLayerError:  # it says already what is missing
        raise
    except Exception as error:
        raise InvalidChannelLayerError(f"{option}: {shown(factory)} failed: {type(error).__name__}: {error}") from error
    with checking(option):
        if isinstance(serializer, type):
            raise InvalidChannelLayerError(
                f"{option}: {shown(factory)} returned the class {shown(serializer)}, not an object of it"
            )
        _require_methods(serializer, f"{option}: {shown(serializer)}")
    return serializer


_factories: dict[str, Callable[[], Serializer]] = {"msgpack": MsgpackSerializer, "json": JsonSerializer}


def _require_methods(candidate: object, what: str) -> None:
    missing = [name for name in ("encode", "decode") if not callable(getattr(candidate, name, None))]
    if missing:
        raise InvalidChannelLayerError(f"{what} has no method {' and no method '.join(map(repr, missing))}")


def _require_message(wire_format: str, message: Any) -> dict[str, Any]:
    if type(message) is not dict:
        raise _undecodable(wire_format, f"it holds {type(message).__name__}, not a dict")
    return message


def _undecodable(wire_format: str, problem: object) -> ValueError:
    hint = "was it written with another serializer_format, or encrypted?"
    return ValueError(f"the bytes are no message in {wire_format}: {problem}; {hint}")


class _Packer(Protocol):
    def pack(self, message: Any, /) -> bytes: ...


# What msgpack writes as one byte takes six as JSON at the most: \u0000 for a character, "false," for a value.
_SURELY_FITS = MESSAGE_LIMIT // 6

_INT_MAX = 2**63 - 1
_OTHER_SCALARS = frozenset((float, bool, type(None)))


def _room_left(container: Any, levels: int, room: int) -> int:
    """Look whether a packer would write every value as :func:`plain_copy` has it; much cheaper than a copy.

    The packer itself refuses lone surrogates and integers below 64 bits. What it would let pass is looked for here:
    other keys than ``str``, larger integers, foreign types, subclasses, deep nesting. Nor does it know an end: a few
    lists that share their items, or a list of the same long text, can be larger than the memory once they are packed.

    :param container: a plain dict, list or tuple.
    :param levels: how many levels of others it may hold.
    :param room: how much is left to be packed, in characters and values of inner containers.
    :returns: how much of that is left then; less than 0: look closer.
    """
    if type(container) is dict:
        for key in container:
            if type(key) is not str:
                return -1
        container = container.values()
    for value in container:
        kind = type(value)
        if kind is str:
            room -= len(value)
        elif kind is int:
            if value > _INT_MAX:
                return -1
        elif kind is dict or kind is list or kind is tuple:
            room = _room_left(value, levels - 1, room - 1 - len(value)) if levels > 0 < room else -1
            if room < 0:
                return -1
        elif kind is bytes:
            room -= len(value)
        elif kind not in _OTHER_SCALARS:
            return -1
    return room


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
