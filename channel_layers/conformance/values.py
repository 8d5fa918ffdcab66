"""Tables of values: those that travel, with what arrives, and those that are refused."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
import sys
import uuid
from collections import OrderedDict
from typing import Any, NamedTuple


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not the value"


class Number(int):
    def __int__(self) -> int:
        return -1


class Items(list):  # type: ignore[type-arg]
    pass


class Point(NamedTuple):
    x: int
    y: int


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Foreign:
    """A class that no layer knows."""


#: Name of the case: (what is sent, what arrives).
VALUES: dict[str, tuple[Any, Any]] = {
    **{
        name: (value, value)
        for name, value in {
            "empty-str": "",
            "ascii": "hello",
            "umlauts": "Grüße, ÿ",
            "decomposed": "e\u0301 \u212b \ufb01",
            "chinese": "频道层",
            "emoji": "👩‍👩‍👧 🎉",
            "right-to-left": "שלום \u202e",
            "nul-character": "a\x00b\x00",
            "control-characters": "\r\n\t\x1b\x7f\x85\u2028",
            "quotes": "\"'\\</script>%s{}",
            "byte-order-mark": "\ufeffx",
            "highest-code-point": "\U0010ffff",
            "boxed-bytes": "\uffff=abc",
            "boxed-text": "\uffff",
            "boxed-twice": "\uffff\uffff=YWJj",
            "json-text": '{"n": 1}',
            "all-bytes": bytes(range(256)),
            "empty-bytes": b"",
            "utf-8-bytes": "é".encode(),
            "zero": 0,
            "minus-one": -1,
            "beyond-32-bits": 2**32 + 1,
            "beyond-53-bits": 2**53 + 1,
            "largest-int": 2**63 - 1,
            "smallest-int": -(2**63),
            "float": 0.1,
            "whole-float": 1.0,
            "minus-zero": -0.0,
            "infinity": math.inf,
            "minus-infinity": -math.inf,
            "nan": math.nan,
            "largest-float": sys.float_info.max,
            "smallest-float": 5e-324,
            "true": True,
            "false": False,
            "one": 1,
            "none": None,
            "empty-list": [],
            "empty-dict": {},
            "mixed-list": [None, True, 1, 1.0, "1", b"1", [], {}],
            "nested": {"a": [{"b": [1, [2, {"c": None}]]}], "d": {"e": {"f": b"\xff"}}},
        }.items()
    },
    "tuple": ((1, ("two", ())), [1, ["two", []]]),
}

#: The same for values that are more than a plain type.
SUBCLASSES: dict[str, tuple[Any, Any]] = {
    "bytearray": (bytearray(b"\x00\xff"), b"\x00\xff"),
    "named-tuple": (Point(1, 2), [1, 2]),
    "str-subclass": (Text("text"), "text"),
    "int-subclass": (Number(7), 7),
    "list-subclass": (Items([1, Items()]), [1, []]),
    "dict-subclass": (OrderedDict(a=OrderedDict()), {"a": {}}),
    "str-enum": (Colour.RED, "red"),
    "int-enum": (Level.HIGH, 3),
}

#: Name of the case: keys of one dict.
KEYS: dict[str, list[str]] = {
    "empty": [""],
    "unicode": ["ключ", "鍵", "🔑", "a\x00b", "\uffff=abc", "\uffff"],
    "ascii": ["a b", "a.b", "1", "type", '"'],
    "reserved-elsewhere": ["__asgi_channel__", "__proto__", "__class__"],
    "thousand": [f"key-{n}" for n in range(1000)],
    "no-keys": [],
}

#: Name of the case: a value that is refused.
REFUSED: dict[str, Any] = {
    "set": {1, 2},
    "frozenset": frozenset(),
    "datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    "date": datetime.date(2024, 1, 1),
    "decimal": decimal.Decimal("1.5"),
    "uuid": uuid.UUID(int=1),
    "complex": 1j,
    "object": object(),
    "own-class": Foreign(),
    "class": Foreign,
    "function": len,
    "memoryview": memoryview(b"abc"),
    "range": range(3),
    "ellipsis": ...,
    "beyond-largest-int": 2**63,
    "beyond-smallest-int": -(2**63) - 1,
    "huge-int": 10**400,
    "lone-surrogate": "a\ud800b",
}

#: Name of the case: what is no message at all.
NOT_MESSAGES: dict[str, Any] = {
    "list": [("type", "test")],
    "tuple": (),
    "str": "text",
    "bytes": b"{}",
    "none": None,
    "int": 1,
    "set": {"type"},
    "object": Foreign(),
}

#: Name of the case: a dict with a key that is refused.
REFUSED_KEYS: dict[str, Any] = {
    "int-key": {1: "one"},
    "none-key": {None: 1},
    "bytes-key": {b"type": 1},
    "bool-key": {True: 1},
    "float-key": {0.5: 1},
    "tuple-key": {("a",): 1},
    "surrogate-key": {"\udfff": 1},
    "one-of-several": {"a": 1, 2: "b"},
}

#: Path: (a message with a value that is refused there, the path).
REFUSED_AT: dict[str, tuple[Any, str]] = {
    path: (message, path)
    for path, message in {
        'message["when"]': {"type": "test", "when": REFUSED["date"]},
        'message["user"]["id"]': {"user": {"id": REFUSED["uuid"]}},
        'message["users"][2]["tags"]': {"users": [{}, {}, {"tags": {1}}]},
        'message["rows"][1][0]': {"rows": [[0], (2**63,)]},
        'message["text"]': {"n": 1, "text": "\ud800"},
        'message["by_id"]': {"by_id": {5: "five"}},
    }.items()
}


def nested(levels: int, kind: type) -> dict[str, Any]:
    """A message of so many levels of dicts or lists, itself being the first."""
    value: Any = "bottom"
    for _ in range(levels - 1):
        value = [value] if kind is list else {"in": value}
    return {"top": value}
