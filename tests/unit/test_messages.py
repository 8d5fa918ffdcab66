from __future__ import annotations

import collections
import datetime
import decimal
import enum
import json
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from legal_messages import MESSAGES, same

from channel_layers import InvalidMessage, MessageTooLarge
from channel_layers.messages import MAX_DEPTH, MESSAGE_LIMIT, fresh_copy, is_flat, json_size, plain_copy


class Text(str):
    def __str__(self) -> str:
        return "overridden"


class Number(int):
    def __int__(self) -> int:
        return 0


class Real(float):
    def __float__(self) -> float:
        return 0.0


class Raw(bytes):
    def __bytes__(self) -> bytes:
        return b"overridden"


class Colour(enum.IntEnum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@given(MESSAGES)
def test_a_legal_message_is_copied_as_it_is(message: dict[str, Any]) -> None:
    copy = plain_copy(message)
    assert same(copy, message)
    assert same(fresh_copy(copy), message)
    assert is_flat(copy) is not any(isinstance(value, (dict, list)) for value in message.values())


def containers(value: Any) -> list[int]:
    """The identities of all dicts and lists inside a value, itself included."""
    if isinstance(value, dict):
        return [id(value), *(found for item in value.values() for found in containers(item))]
    if isinstance(value, list):
        return [id(value), *(found for item in value for found in containers(item))]
    return []


@given(MESSAGES)
def test_a_copy_shares_nothing_mutable(message: dict[str, Any]) -> None:
    copy = plain_copy(message)
    again = fresh_copy(copy)
    identities = containers(message) + containers(copy) + containers(again)
    assert len(identities) == len(set(identities))


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        (Text("text"), "text"),
        (Number(7), 7),
        (Real(0.5), 0.5),
        (Raw(b"raw"), b"raw"),
        (Colour.RED, 1),
        (bytearray(b"\x00\xff"), b"\x00\xff"),
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        ({Text("key"): 1}, {"key": 1}),
        ([Text("in a list")], ["in a list"]),
    ],
)
def test_subclasses_become_the_plain_type(sent: Any, received: Any) -> None:
    assert same(plain_copy({"value": sent}), {"value": received})
    assert same(plain_copy({"value": [sent]}), {"value": [received]})


def test_a_key_of_a_subclass_becomes_str() -> None:
    (key,) = plain_copy({Text("key"): 1})
    assert type(key) is str
    assert key == "key"


REFUSED = [
    (datetime.datetime(2026, 1, 1), "datetime"),
    (decimal.Decimal(1), "Decimal"),
    (uuid.UUID(int=1), "UUID"),
    ({1}, "set"),
    (frozenset(), "frozenset"),
    (1j, "complex"),
    (object(), "object"),
    (memoryview(b""), "memoryview"),
    (2**63, "64-bit"),
    (-(2**63) - 1, "64-bit"),
    ("\ud800", "surrogate"),
    (range(3), "range"),
    (int, "type"),
]


@pytest.mark.parametrize(("value", "problem"), REFUSED)
def test_what_no_backend_could_carry_is_refused_with_its_path(value: Any, problem: str) -> None:
    with pytest.raises(InvalidMessage, match=problem) as caught:
        plain_copy({"value": value})
    assert str(caught.value).startswith('message["value"]: ')
    with pytest.raises(InvalidMessage) as caught:
        plain_copy({"type": "x", "users": [{}, {"né": (0, value)}]})
    assert caught.value.path == 'message["users"][1]["né"][1]'
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("key", [1, None, b"bytes", ("a",), 1.5, True])
def test_a_key_that_is_not_str_is_refused(key: Any) -> None:
    with pytest.raises(InvalidMessage, match="keys must be str") as caught:
        plain_copy({"user": {"name": "x", key: 1}})
    assert caught.value.path == 'message["user"]'
    with pytest.raises(InvalidMessage) as caught:
        plain_copy({key: 1})
    assert caught.value.path == "message"


def test_a_key_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="surrogate") as caught:
        plain_copy({"user": {"\udc00": 1}})
    assert caught.value.path == 'message["user"]'


@pytest.mark.parametrize("message", [None, "text", [], ("a", 1), b"", 5, [("type", "x")]])
def test_what_is_not_a_dict_is_refused(message: Any) -> None:
    with pytest.raises(InvalidMessage, match="not a dict"):
        plain_copy(message)


class Lazy:
    """Lies about its class, as Django's lazy objects and mocks do."""

    def __init__(self, value: Any) -> None:
        self._value = value

    @property
    def __class__(self) -> Any:
        return type(self._value)


@pytest.mark.parametrize("value", ["text", 5, True, None, 0.5, b"x", [], {}, ()])
def test_an_object_that_lies_about_its_class_is_refused(value: Any) -> None:
    for message in ({"value": Lazy(value)}, {"list": [Lazy(value)]}):
        with pytest.raises(InvalidMessage, match="Lazy cannot be sent"):
            plain_copy(message)
    with pytest.raises(InvalidMessage, match="Lazy is not a dict"):
        plain_copy(Lazy({}))
    with pytest.raises(InvalidMessage, match="keys must be str"):
        plain_copy({Lazy("key"): 1})


class AlwaysInside(int):
    def __ge__(self, other: object) -> bool:
        return True

    __le__ = __ge__


class Endless(list[Any]):
    def __iter__(self) -> Any:
        while True:
            yield 0


class OddItems(dict[str, Any]):
    def items(self) -> Any:
        return [5]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_subclass_cannot_get_around_the_rules() -> None:
    with pytest.raises(InvalidMessage, match="64-bit"):
        plain_copy({"n": AlwaysInside(2**70)})
    assert plain_copy({"list": Endless([1])}) == {"list": [1]}
    assert plain_copy({"dict": OddItems(a=1)}) == {"dict": {"a": 1}}
    assert plain_copy(OddItems(a=1)) == {"a": 1}
    with pytest.raises(InvalidMessage, match="Unprintable"):
        plain_copy({Unprintable(): 1})


def test_an_ordered_dict_keeps_its_order() -> None:
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    assert list(plain_copy({"value": ordered})["value"]) == ["b", "a"]


def test_the_text_of_an_error_is_short() -> None:
    for message in ({("x" * 10**6,): 1}, {"x" * 10**6: object()}, {"x" * 10**6 + "\ud800": 1}):
        with pytest.raises(InvalidMessage) as caught:
            plain_copy(message)
        assert len(str(caught.value)) < 300


def nested(levels: int, container: type) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value] if container is list else {"in": value}
    return value


@pytest.mark.parametrize("container", [list, dict])
def test_nesting_is_limited(container: type) -> None:
    plain_copy({"value": nested(MAX_DEPTH - 1, container)})
    with pytest.raises(InvalidMessage, match="nested deeper than 128"):
        plain_copy({"value": nested(MAX_DEPTH, container)})


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidMessage, match="nested deeper"):
        plain_copy({"value": endless})


@pytest.mark.parametrize(
    "filler",
    [
        lambda size: "a" * size,
        lambda size: "\n" * (size // 2) + "a" * (size % 2),  # two bytes each in JSON
        lambda size: "é" * (size // 2) + "a" * (size % 2),
        lambda size: "😀" * (size // 4) + "a" * (size % 4),
    ],
    ids=["ascii", "escaped", "two-byte", "four-byte"],
)
def test_the_limit_is_exact_for_text(filler: Any) -> None:
    room = MESSAGE_LIMIT - json_size({"type": "x", "value": ""})
    plain_copy({"type": "x", "value": filler(room)})
    with pytest.raises(MessageTooLarge) as caught:
        plain_copy({"type": "x", "value": filler(room + 1)})
    assert caught.value.size == MESSAGE_LIMIT + 1
    assert "1,048,577" in str(caught.value)


def test_the_limit_counts_bytes_as_base64() -> None:
    room = MESSAGE_LIMIT - len('{"value":""}')
    plain_copy({"value": bytes(room // 4 * 3)})
    with pytest.raises(MessageTooLarge):
        plain_copy({"value": bytes(room // 4 * 3 + 1)})


def test_the_limit_is_exact_for_many_small_values() -> None:
    room = MESSAGE_LIMIT - len('{"v":[]}')
    zeros = [0] * ((room + 1) // 2)  # "0," each, without the last comma
    plain_copy({"v": zeros})
    with pytest.raises(MessageTooLarge):
        plain_copy({"v": [*zeros, 0]})


def test_what_is_far_too_large_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channel_layers.messages.json_size", pytest.fail)
    with pytest.raises(MessageTooLarge, match="more than 1,048,576 bytes"):
        plain_copy({"v": [None] * 1_000_000})


def test_an_exponential_message_is_refused_at_once() -> None:
    value: Any = []
    for _ in range(100):
        value = [value, value]
    with pytest.raises(MessageTooLarge):
        plain_copy({"value": value})


@given(MESSAGES)
def test_the_size_is_that_of_compact_json(message: dict[str, Any]) -> None:
    def without_bytes(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_bytes(item) for key, item in value.items()}
        if isinstance(value, list):
            return [without_bytes(item) for item in value]
        return "" if isinstance(value, bytes) else value

    plain = without_bytes(message)
    assert json_size(plain) == len(json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode())
