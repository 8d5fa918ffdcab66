from __future__ import annotations

import re
from typing import Any

import pytest

from channel_layers import BaseChannelLayer, InvalidChannelLayerError
from channel_layers.memory import InMemoryChannelLayer


def test_the_first_pattern_that_matches_holds() -> None:
    patterns = {"http.*": 5, re.compile(r"http\.response!.+"): 6, "http.request": 7, "*!*": 8}
    layer = BaseChannelLayer(capacity=9, channel_capacity=patterns)
    assert layer.get_capacity("http.request") == 5
    assert layer.get_capacity("specific.abc!def") == 8
    assert layer.get_capacity("other") == 9
    assert layer.get_capacity("xhttp.request") == 9


def test_a_glob_matches_the_whole_name() -> None:
    layer = BaseChannelLayer(channel_capacity={"a?c": 1, "[xy]": 2})
    assert [layer.get_capacity(name) for name in ("abc", "abcd", "x", "z")] == [1, 100, 2, 100]


def test_what_was_compiled_can_be_compiled_again() -> None:
    layer = BaseChannelLayer(channel_capacity={"a*": 1})
    layer.channel_capacity = layer.compile_capacities(layer.channel_capacity)
    assert layer.get_capacity("abc") == 1


def test_a_subclass_may_leave_the_dict_uncompiled() -> None:
    layer = BaseChannelLayer()
    layer.channel_capacity = {"a*": 1}
    assert layer.get_capacity("abc") == 1
    assert layer.get_capacity("b") == 100


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "10", None, True])
def test_a_capacity_is_a_whole_number(capacity: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match="capacity must be a whole number"):
        InMemoryChannelLayer(capacity=capacity)
    with pytest.raises(InvalidChannelLayerError, match=r"channel_capacity\['a'\] must be a whole number"):
        InMemoryChannelLayer(channel_capacity={"a": capacity})


@pytest.mark.parametrize("patterns", ["a*", 5, {5: 1}, {b"a": 1}, [("a",)], ["ab"], {"a"}])
def test_patterns_are_a_dict(patterns: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match="channel_capacity"):
        InMemoryChannelLayer(channel_capacity=patterns)
