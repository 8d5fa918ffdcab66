"""Values that nobody should give to a layer, and that somebody will.

A strategy draws a :class:`Case`, which makes the value: some of them cannot be printed, compared or hashed, and a test
that fails has to say which one it was.
"""

from __future__ import annotations

import collections
import decimal
import enum
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn
from unittest import mock

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st


def fuzz(examples: int) -> settings:
    """The same examples in every run."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    # Without shrinking: what fails is shown as it is, and a number may have more digits than Hypothesis can write.
    phases = [Phase.explicit, Phase.generate]
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=phases,
        suppress_health_check=checks,
    )


class Case(NamedTuple):
    label: str
    make: Callable[[], Any]

    def __repr__(self) -> str:
        return self.label


class Hostile(Exception):  # noqa: N818 - it is what the values below do
    """Raised by every method of a hostile value."""


_peace: list[bool] = []


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise Hostile


@contextmanager
def at_peace() -> Iterator[None]:
    """Texts can be put into a dict here."""
    _peace.append(True)
    try:
        yield
    finally:
        _peace.pop()


def _hostile(base: type, *names: str) -> type:
    """A subclass of which each of these methods, and every common one, fails."""
    common = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__repr__", "__str__",
              "__format__", "__bool__", "__len__", "__iter__", "__contains__", "__getitem__")  # fmt: skip
    return type(f"Hostile{base.__name__.title()}", (base,), dict.fromkeys((*common, *names), _refuse))


class HostileStr(_hostile(str, "encode", "strip", "startswith", "endswith", "partition", "isascii")):  # type: ignore[misc]
    def __hash__(self) -> int:
        return str.__hash__(self) if _peace else _refuse()


HostileBytes = _hostile(bytes, "decode")
HostileInt = _hostile(int, "__int__", "__index__", "__add__", "__sub__", "__mul__", "__rmul__", "__float__")
HostileFloat = _hostile(float, "__float__", "__add__", "__sub__", "__mul__", "__rmul__")
HostileList = _hostile(list)
HostileDict = _hostile(dict, "items", "keys", "values", "get", "copy", "pop")
HostileObject = _hostile(object, "__getattr__")


class LiesAboutItsClass:
    @property
    def __class__(self) -> Any:
        raise Hostile


class ClaimsToBeStr:
    __class__ = str  # type: ignore[assignment]


class FormatsAsSomethingElse(str):
    def __format__(self, _: str) -> str:
        return "other name!\n"

    __str__ = __repr__ = lambda self: "other name!\n"


class Colour(str, enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    SEVEN = 7


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def circle() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def circular_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


def without_end() -> dict[str, Any]:
    """A hundred dicts, and more paths through them than could be walked."""
    value: dict[str, Any] = {"a": 1}
    for _ in range(100):
        value = {"a": value, "b": value}
    return value


def generator() -> Iterator[int]:
    yield 1


SIMPLE = [
    None, True, False, 0, 1, -1, 7, 2**31, 2**63, -(2**63) - 1, 10**400, 10**5000, 0.5, -0.0, 1e308, 5e-324, math.nan,
    math.inf, -math.inf, "", "x", "a.b", "!", "a!", "!a", "a!b!c", "a\n", "ä", "\ud800", "a\0b", "x" * 100, "x" * 101,
    "x" * 200_000, b"", b"x", bytearray(b"x"), (), (1,), [], [1], {}, {1: 2}, {"a": 1}, {"": 1}, {"[": 1}, {"[!": 2},
    set(), frozenset("a"), 1j, ..., NotImplemented, int, str, dict, object(), range(3), decimal.Decimal(3),
    re.compile("a"), re.compile(b"a"), {re.compile("a"): 3}, {re.compile(b"a"): 3}, Colour.RED, Number.SEVEN,
    collections.OrderedDict(a=1), collections.Counter("a"), collections.deque([1]), "specific.cl00000000000000000000!x",
    memoryview(b"x"),
]  # fmt: skip

MADE = [
    HostileObject, LiesAboutItsClass, ClaimsToBeStr, generator, circle, circular_dict, without_end, mock.MagicMock,
    lambda: HostileStr("x"), lambda: HostileStr("msgpack"), lambda: HostileStr("redis://localhost"),
    lambda: HostileBytes(b"x"), lambda: HostileInt(5), lambda: HostileFloat(3.5), lambda: HostileList([1]),
    lambda: HostileDict(a=1), lambda: FormatsAsSomethingElse("x"), lambda: nested(200), lambda: nested(100_000),
    lambda: collections.defaultdict(list, a=without_end()),
]  # fmt: skip


def _label(value: Any) -> str:
    text = f"int of {value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 99 else repr(value)
    return text if len(text) < 60 else f"{text[:50]}... ({len(text)} characters)"


leaves = st.one_of(
    st.sampled_from([Case(_label(value), lambda value=value: value) for value in SIMPLE]),  # type: ignore[misc]
    st.sampled_from([Case(f"made by {make}", make) for make in MADE]),
    st.text(max_size=20).map(lambda text: Case(repr(text), lambda: text)),
    st.binary(max_size=20).map(lambda text: Case(repr(text), lambda: text)),
    st.integers().map(lambda number: Case(_label(number), lambda: number)),
    st.floats().map(lambda number: Case(repr(number), lambda: number)),
)


def _list(items: list[Case]) -> Case:
    return Case(repr(items), lambda: [item.make() for item in items])


def _tuple(items: list[Case]) -> Case:
    return Case(repr(tuple(items)), lambda: tuple(item.make() for item in items))


def _dict(items: dict[str, Case]) -> Case:
    return Case(repr(items), lambda: {key: item.make() for key, item in items.items()})


def dicts(keys: st.SearchStrategy[str], items: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    return st.dictionaries(keys, items, max_size=4).map(_dict)


#: Anything at all.
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(_list),
        st.lists(inner, max_size=4).map(_tuple),
        dicts(st.text(max_size=8), inner),
    ),
    max_leaves=8,
)
