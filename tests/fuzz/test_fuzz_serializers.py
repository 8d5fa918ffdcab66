"""Bytes that a stranger has written, for each format: a message that nobody else holds, or a ValueError."""

from __future__ import annotations

import resource
import struct
from typing import Any

import pytest
from hostile import fuzz
from hypothesis import example, given
from hypothesis import strategies as st

from channel_layers.encryption import Encrypted, make_wire_serializer
from channel_layers.messages import fresh_copy, is_flat

msgpack = pytest.importorskip("msgpack")
KEYS = ["secret"]
FORMATS = {
    "json": make_wire_serializer("json"),
    "msgpack": make_wire_serializer("msgpack"),
    "json, encrypted": make_wire_serializer("json", KEYS),
    "msgpack, encrypted": make_wire_serializer("msgpack", KEYS),
}
GOOD = {"type": "chat.message", "text": "hé\0", "n": -5, "b": b"\0\xff", "list": [1, [2.5, None, True], {"a": {}}]}


def decode(name: str, payload: bytes) -> None:
    try:
        message = FORMATS[name].decode(payload)
        assert type(message) is dict
        assert is_flat(message) or fresh_copy(message) is not message
    except ValueError as error:
        assert len(str(error)) < 1000  # noqa: PT017
    assert FORMATS[name].decode(FORMATS[name].encode(GOOD)) == GOOD


@pytest.mark.parametrize("name", FORMATS)
def test_any_bytes(name: str) -> None:
    @fuzz(150)
    @given(st.binary(max_size=200))
    @example(b"")
    def read(payload: bytes) -> None:
        decode(name, payload)

    read()


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_that_were_changed_on_the_way(name: str) -> None:
    good = FORMATS[name].encode(GOOD)

    @fuzz(200)
    @given(
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=4), st.integers(0, len(good))
    )
    def read(changes: list[tuple[int, int]], end: int) -> None:
        payload = bytearray(good)
        for at, byte in changes:
            payload[at] = byte
        decode(name, bytes(payload))
        decode(name, bytes(payload[:end]))
        decode(name, bytes(payload + payload[:end]))

    read()


def packed(kind: int, length: int, rest: bytes = b"") -> bytes:
    return bytes([kind]) + struct.pack(">I", length) + rest


BOMBS: dict[str, Any] = {
    "a list of four thousand million": b"\x81\xa1x" + packed(0xDD, 2**32 - 1),
    "a dict of four thousand million": packed(0xDF, 2**32 - 1),
    "bytes of four thousand million": b"\x81\xa1x" + packed(0xC6, 2**32 - 1),
    "text of four thousand million": b"\x81\xa1x" + packed(0xDB, 2**32 - 1),
    "an extension of four thousand million": b"\x81\xa1x" + packed(0xC9, 2**32 - 1, b"\x05"),
    "a thousand lists of a million each": b"\x81\xa1x" + packed(0xDD, 1_000_000) * 1000 + b"\xc0" * 1_000_000,
    "lists a million deep": b"\x81\xa1x" + b"\x91" * 1_000_000 + b"\xc0",
    "lists five hundred deep": b"\x81\xa1x" + b"\x91" * 500 + b"\xc0",
    "dicts nine hundred deep": b"\x81\xa1x" * 900 + b"\xc0",
    "a broken time": b"\x81\xa1x\xc7\x0c\xff" + b"\xff" * 12,
    "json a million deep": b'{"x":' + b"[" * 1_000_000,
    "json, closed, a hundred thousand deep": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "json, closed, four hundred deep": b'{"x":' + b"[" * 400 + b"]" * 400 + b"}",
    "json with a number of a million digits": b'{"x":' + b"9" * 1_000_000 + b"}",
    "json with broken base64": '{"x":"\uffff=!"}'.encode(),
    "json with base64 that is not ascii": '{"x":"\uffff=é"}'.encode(),
    "json of one character": '{"x":"\uffff"}'.encode(),
    "json with a lone surrogate": b'{"x":"\\ud800"}',
    "json in utf-16": '{"x":1}'.encode("utf-16"),
    "json that is no dict": b"[]",
    "json with nothing but nan": b'{"x":NaN}',
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(bomb: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, serializer in FORMATS.items():
        decode(name, BOMBS[bomb])
        if isinstance(serializer, Encrypted):  # by somebody who has the key
            decode(name, serializer._fernet.encrypt(BOMBS[bomb]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000, "kilobytes"
