from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from legal_messages import MESSAGES, same

from channel_layers import InvalidMessage, MessageTooLarge
from channel_layers.serializers import JsonSerializer

json_serializer = JsonSerializer()


@given(MESSAGES)
def test_json_carries_every_legal_message(message: dict[str, Any]) -> None:
    assert same(json_serializer.decode(json_serializer.encode(message)), message)


@pytest.mark.parametrize("text", ["\uffff", "\uffff=", "\uffff=YQ==", "\uffff\uffff", "a\uffff="])
def test_text_that_looks_like_boxed_bytes_stays_text(text: str) -> None:
    message = {"text": text, "bytes": text.encode(), "list": [text, text.encode()]}
    assert same(json_serializer.decode(json_serializer.encode(message)), message)


def test_json_is_compact() -> None:
    assert json_serializer.encode({"a": [1, "é"], "b": b"\x00"}) == '{"a":[1,"é"],"b":"\uffff=AA=="}'.encode()


def test_what_is_refused_in_memory_is_refused_here() -> None:
    with pytest.raises(InvalidMessage):
        json_serializer.encode({1: 2})
    with pytest.raises(MessageTooLarge):
        json_serializer.encode({"text": "x" * 2**20})
