"""Hypothesis strategies: legal messages, messages with one foreign value, and strings that nearly are names."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from .names import ALL_CHARACTERS
from .values import REFUSED

_SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.text("\uffff=ab\x00", max_size=5),
    st.binary(max_size=20),
)
_KEYS = st.one_of(st.text(max_size=10), st.sampled_from(["type", "text", "\uffff=YQ==", "__asgi_channel__"]))


def _containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(items, max_size=4),
        st.lists(items, max_size=4).map(tuple),
        st.dictionaries(_KEYS, items, max_size=4),
    )


_VALUES: st.SearchStrategy[Any] = st.recursive(_SCALARS, _containers, max_leaves=12)

#: Any legal message, of a modest size.
MESSAGES: st.SearchStrategy[dict[str, Any]] = st.dictionaries(_KEYS, _VALUES, max_size=5)

#: Strings of which about half are legal names.
NEARLY_NAMES = st.one_of(
    st.text(ALL_CHARACTERS, max_size=105),
    st.text(ALL_CHARACTERS + "!", min_size=1, max_size=6),
    st.text("ab!", max_size=6),
    st.text("aZ9-_.!? \né\u0663", max_size=4),
)


@st.composite
def messages_with_a_foreign_value(draw: st.DrawFn) -> dict[str, Any]:
    """A message that holds, somewhere, one value that is refused."""
    value: Any = REFUSED[draw(st.sampled_from(sorted(REFUSED)))]
    for step in draw(st.lists(st.sampled_from(["list", "tuple", "dict"]), max_size=4)):
        beside = draw(_SCALARS)
        value = {"list": [beside, value], "tuple": (value, beside), "dict": {"a": beside, "b": value}}[step]
    return {**draw(MESSAGES), "foreign": value}


def as_it_arrives(value: Any) -> Any:
    """What a receiver gets for a value: tuples come as lists."""
    if isinstance(value, dict):
        return {key: as_it_arrives(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_it_arrives(item) for item in value]
    return value
