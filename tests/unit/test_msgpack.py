"""What is special about msgpack; test_serializers.py has what it shares with every format."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from legal_messages import MESSAGES

from channel_layers import InvalidMessage, MessageTooLarge, serializers
from channel_layers.messages import MESSAGE_LIMIT, json_size, plain_copy
from channel_layers.serializers import MsgpackSerializer

msgpack = pytest.importorskip("msgpack")


@pytest.fixture
def serializer() -> MsgpackSerializer:
    return MsgpackSerializer()


# What takes the most room in JSON for each byte of msgpack.
ROOMY = {"\x00" * 9: ["\x00" * 200, "", False, None, -32, -128, -(2**63), -2.2250738585072014e-308, b"", {}, []] * 5}


@given(message=MESSAGES | st.just(ROOMY))
def test_no_message_is_larger_in_json_than_the_shortcut_assumes(message: dict[str, Any]) -> None:
    assert json_size(message) <= len(msgpack.packb(message)) * MESSAGE_LIMIT / serializers._SURELY_FITS


def test_msgpack_is_plain_msgpack(serializer: MsgpackSerializer) -> None:
    assert serializer.encode({"a": (1, "é"), "b": b"\0"}) == b"\x82\xa1a\x92\x01\xa2\xc3\xa9\xa1b\xc4\x01\x00"


def test_a_type_of_msgpack_is_no_loophole(serializer: MsgpackSerializer) -> None:
    with pytest.raises(InvalidMessage, match="Timestamp cannot be sent"):
        serializer.encode({"value": msgpack.Timestamp(1)})
    with pytest.raises(InvalidMessage, match="memoryview cannot be sent"):
        serializer.encode({"value": memoryview(b"x")})
    extension = {"value": msgpack.ExtType(5, b"x")}  # a tuple by birth
    assert serializer.decode(serializer.encode(extension)) == plain_copy(extension) == {"value": [5, b"x"]}


class WatchedPacker:
    """Stands for the real one; lets a test act while it packs."""

    meanwhile: Callable[[], object]

    def __init__(self) -> None:
        self.busy = False

    def pack(self, message: Any) -> bytes:
        assert not self.busy, "two calls share a packer"
        self.busy = True
        type(self).meanwhile()
        self.busy = False
        return b"packed"


def test_two_threads_never_share_a_packer(serializer: MsgpackSerializer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializer, "_new_packer", WatchedPacker)
    monkeypatch.setattr(WatchedPacker, "meanwhile", threading.Barrier(2, timeout=10).wait, raising=False)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            assert list(threads.map(serializer.encode, [{}, {}])) == [b"packed"] * 2
    assert len(serializer._packers) == 2


def test_a_finalizer_that_sends_meanwhile_gets_a_packer_of_its_own(
    serializer: MsgpackSerializer, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = iter(range(2))
    monkeypatch.setattr(serializer, "_new_packer", WatchedPacker)
    send = staticmethod(lambda: next(depth, None) is None or serializer.encode({}))
    monkeypatch.setattr(WatchedPacker, "meanwhile", send, raising=False)
    assert serializer.encode({}) == b"packed"
    assert len(serializer._packers) == 3


def test_the_memory_that_a_large_message_took_is_not_kept(serializer: MsgpackSerializer) -> None:
    serializer.encode({"text": "x" * 1_000_000})
    serializer.encode({f"key {n}": n for n in range(20_000)})
    assert serializer._packers == []


@pytest.mark.parametrize("text", ["x" * 100_000, b"x" * 100_000])
def test_a_long_text_named_many_times_is_not_packed(serializer: MsgpackSerializer, text: Any) -> None:
    serializer._new_packer = lambda: pytest.fail("it was packed")
    for message in ({"list": [text] * 1000}, {str(n): text for n in range(1000)}):
        with pytest.raises(MessageTooLarge):
            serializer.encode(message)
