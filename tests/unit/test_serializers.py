"""Every format, encrypted and not: what it carries, and what it refuses. At the end what is special about JSON."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from legal_messages import MESSAGES, same

from channel_layers import InvalidMessage, MessageTooLarge
from channel_layers.conformance import strategies as wider
from channel_layers.conformance.sizes import MADE_OF, padded
from channel_layers.conformance.values import NOT_MESSAGES, REFUSED, REFUSED_AT, REFUSED_KEYS, SUBCLASSES, nested
from channel_layers.encryption import make_wire_serializer
from channel_layers.messages import MESSAGE_LIMIT, plain_copy
from channel_layers.serializers import JsonSerializer, Serializer


class Shout(str):
    __slots__ = ()


class Odd(dict[str, Any]):
    def items(self) -> Any:
        return [("other", 5)]


@pytest.fixture(scope="module", params=["json", "msgpack", "json encrypted", "msgpack encrypted"])
def serializer(request: pytest.FixtureRequest) -> Serializer:
    wire_format, _, encrypted = request.param.partition(" ")
    if wire_format == "msgpack":
        pytest.importorskip("msgpack")
    if encrypted:
        pytest.importorskip("cryptography")
    return make_wire_serializer(wire_format, ["key"] if encrypted else None)


def outcome(function: Callable[[Any], Any], message: Any) -> tuple[Any, ...]:
    """What came of a call: the exact value, or the whole of a refusal."""
    try:
        result = function(message)
    except (InvalidMessage, MessageTooLarge) as error:
        return type(error), error.args, str(error)
    return "accepted", repr(result)  # repr() tells 1 from True and 1.0, and nan from anything else


def travelled(serializer: Serializer) -> Callable[[Any], dict[str, Any]]:
    return lambda message: serializer.decode(serializer.encode(message))


# Every format: what it carries


@given(message=MESSAGES)
def test_every_legal_message_arrives(serializer: Serializer, message: dict[str, Any]) -> None:
    assert same(travelled(serializer)(message), message)


@given(message=wider.MESSAGES)
def test_what_arrives_is_what_arrives_in_memory(serializer: Serializer, message: dict[str, Any]) -> None:
    assert outcome(travelled(serializer), message) == outcome(plain_copy, message)


@pytest.mark.parametrize(("value", "arrives"), SUBCLASSES.values(), ids=SUBCLASSES)
def test_a_subclass_arrives_as_the_plain_type(serializer: Serializer, value: Any, arrives: Any) -> None:
    message = {"value": value, "list": [value], "dict": {"in": (value,)}}
    assert same(travelled(serializer)(message), {"value": arrives, "list": [arrives], "dict": {"in": [arrives]}})


def test_a_message_of_a_subclass_arrives_as_a_dict(serializer: Serializer) -> None:
    assert same(travelled(serializer)(Odd(a=1, b=Odd())), {"a": 1, "b": {}})


@pytest.mark.parametrize("made_of", MADE_OF)
def test_the_largest_message_arrives_and_one_byte_more_is_refused(serializer: Serializer, made_of: str) -> None:
    largest = padded(MADE_OF[made_of], MESSAGE_LIMIT)
    assert travelled(serializer)(largest) == largest
    with pytest.raises(MessageTooLarge) as caught:
        serializer.encode(padded(MADE_OF[made_of], MESSAGE_LIMIT + 1))
    assert (caught.value.size, caught.value.limit) == (1_048_577, 1_048_576)


@pytest.mark.parametrize("kind", [list, dict])
def test_128_levels_arrive(serializer: Serializer, kind: type) -> None:
    assert travelled(serializer)(nested(128, kind)) == nested(128, kind)


def test_a_decoded_message_belongs_to_its_receiver(serializer: Serializer) -> None:
    message = {"list": [{"n": 1}], "dict": {"list": []}}
    payload = serializer.encode(message)
    first, second = serializer.decode(payload), serializer.decode(payload)
    first["list"][0]["n"] = 2
    first["dict"]["list"].append(3)
    assert second == message == {"list": [{"n": 1}], "dict": {"list": []}}


def test_encoding_leaves_the_message_as_it_was(serializer: Serializer) -> None:
    message = {"tuple": (1, bytearray(b"x")), "list": [{"a": b""}]}
    before = copy.deepcopy(message)
    serializer.encode(message)
    assert same(message, before)


def test_threads_may_encode_and_decode_at_the_same_time(serializer: Serializer) -> None:
    def round_trips(thread: int) -> bool:
        messages = [{"thread": thread, "text": f"{thread}-{n} " * n, "list": [n, [thread]]} for n in range(100)]
        return [travelled(serializer)(message) for message in messages] == messages

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(round_trips, range(8)))
    finally:
        sys.setswitchinterval(interval)


# Every format: what it refuses


BAD: dict[str, Any] = {
    **{f"{name} as value": {"type": "x", "value": value} for name, value in REFUSED.items()},
    **{f"{name} inside": {"users": [{}, {"né": (0, value)}]} for name, value in REFUSED.items()},
    **{f"{name} at the top": keys for name, keys in REFUSED_KEYS.items()},
    **{f"{name} inside": {"a": [1, keys]} for name, keys in REFUSED_KEYS.items()},
    **{f"{name} as message": value for name, value in NOT_MESSAGES.items()},
    **{path: message for path, (message, _) in REFUSED_AT.items()},
    "129 lists": nested(129, list),
    "129 dicts": nested(129, dict),
    "129 tuples": {"value": (nested(127, list)["top"],)} | {"value": ([nested(128, list)["top"]],)},
    "a subclass with a bad key": Odd([(1, "x")]),
    "a subclass with a bad value": Odd({"a": {1}}),
    "a subclass beside it": {"text": Shout("x"), "value": {1}},
    "int a little too large": {"list": [2**63]},
    "int far too large": {"list": [2**64]},
    "int a little too small": {"list": [-(2**63) - 1]},
    "a megabyte beside it": {"text": "x" * 2**20, "value": {1}},
    "two million small values": {"value": [None] * 2_000_000},
    "many long keys": {f"{n:050}": None for n in range(25_000)},
    "text above the limit": {"text": "x" * 2**20},
}


@pytest.mark.parametrize("message", BAD.values(), ids=BAD)
def test_what_is_refused_in_memory_is_refused_in_the_same_words(serializer: Serializer, message: Any) -> None:
    refusal = outcome(plain_copy, message)
    assert refusal[0] in (InvalidMessage, MessageTooLarge)
    assert outcome(serializer.encode, message) == refusal


@given(message=wider.messages_with_a_foreign_value())
def test_a_foreign_value_anywhere_is_refused_in_the_same_words(serializer: Serializer, message: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage) as caught:
        plain_copy(message)
    assert outcome(serializer.encode, message) == (InvalidMessage, caught.value.args, str(caught.value))


def test_a_refusal_leaves_nothing_behind(serializer: Serializer) -> None:
    for bad in ({"text": "x", "bad": "\ud800"}, {"a": 1, "n": -(2**64)}, {"a": 1, "bad": object()}):
        with pytest.raises(InvalidMessage):
            serializer.encode(bad)
        assert travelled(serializer)({"text": "good"}) == {"text": "good"}


def test_lists_that_share_their_items_are_refused_soon(serializer: Serializer) -> None:
    value: Any = []
    for _ in range(100):
        value = [value, value]
    with pytest.raises(MessageTooLarge):
        serializer.encode({"value": value})


@given(payload=st.binary(max_size=60))
def test_garbage_is_a_value_error_or_a_dict(serializer: Serializer, payload: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert type(serializer.decode(payload)) is dict


GARBAGE = [b"", b"\xc1", b"5", b"[]", b"\x90", b"nil", b"\xff\xfe", b'{"a":"\xff"}', b"\x81\xa1a\xa1\xff", b"[" * 10**5]


@pytest.mark.parametrize("payload", [*GARBAGE, b"\x91" * 10**5, b"\xdd\xff\xff\xff\xff", b"\xc4\x01a"], ids=repr)
def test_what_is_no_message_is_a_clear_error(serializer: Serializer, payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"are no message in (JSON|msgpack): .*; was it|decrypts the message"):
        serializer.decode(payload)


def test_a_message_that_was_cut_is_an_error(serializer: Serializer) -> None:
    payload = serializer.encode({"type": "x", "list": [1, 2]})
    for broken in (payload[:-1], payload[: len(payload) // 2], payload[1:]):
        with pytest.raises(ValueError, match="message"):
            serializer.decode(broken)


# JSON


@pytest.mark.parametrize("text", ["\uffff", "\uffff=", "\uffff=YQ==", "\uffff\uffff", "a\uffff="])
def test_text_that_looks_like_boxed_bytes_stays_text(text: str) -> None:
    message = {"text": text, "bytes": text.encode(), "list": [text, text.encode()]}
    assert same(travelled(JsonSerializer())(message), message)


def test_json_is_compact() -> None:
    assert JsonSerializer().encode({"a": [1, "é"], "b": b"\x00"}) == '{"a":[1,"é"],"b":"\uffff=AA=="}'.encode()
