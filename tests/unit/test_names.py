from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_layers import BaseChannelLayer
from channel_layers.names import client_id_of, new_channel_name, new_client_id

LEGAL_IN_BOTH = ["a", "A.b-c_d.9", "-", "_", ".", "x" * 100]
LEGAL_FOR_CHANNELS = ["a!", "a!b", "specific.0!-_.", "x" * 98 + "!x"]
ILLEGAL = [
    "",
    "x" * 101,
    "a\n",
    "a b",
    "é",
    "\u0663",
    "a?b",
    "a?",
    "a!b!c",
    "a!!",
    "!",
    "!a",
    "a/b",
    "a:b",
    "a\x00",
    "\uff41",
]
NOT_TEXT: list[Any] = [None, 5, b"bytes", ["a"], {"a": 1}, ("a",), True]

layer = BaseChannelLayer()


@pytest.mark.parametrize("name", LEGAL_IN_BOTH + LEGAL_FOR_CHANNELS)
def test_legal_channel_names(name: str) -> None:
    assert layer.require_valid_channel_name(name) is True
    assert layer.channel_name_regex.match(name)


@pytest.mark.parametrize("name", LEGAL_IN_BOTH)
def test_legal_group_names(name: str) -> None:
    assert layer.require_valid_group_name(name) is True


@pytest.mark.parametrize("name", ILLEGAL + NOT_TEXT)
def test_illegal_channel_names(name: Any) -> None:
    with pytest.raises(TypeError, match="at most 100 characters, containing only ASCII"):
        layer.require_valid_channel_name(name)


@pytest.mark.parametrize("name", ILLEGAL + NOT_TEXT + LEGAL_FOR_CHANNELS)
def test_illegal_group_names(name: Any) -> None:
    with pytest.raises(TypeError, match=r"Group name must be a str of at most 100 characters"):
        layer.require_valid_group_name(name)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ILLEGAL + NOT_TEXT)
async def test_every_verb_refuses_an_illegal_name(name: Any) -> None:
    calls = [
        lambda: layer.send(name, {}),
        lambda: layer.receive(name),
        lambda: layer.discard_channel(name),
        lambda: layer.group_add("group", name),
        lambda: layer.group_add(name, "channel"),
        lambda: layer.group_discard("group", name),
        lambda: layer.group_discard(name, "channel"),
        lambda: layer.group_send(name, {}),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="containing only ASCII"):
            await call()


@given(st.text(alphabet=st.characters(max_codepoint=0x3FF), max_size=105))
def test_names_are_what_the_specification_says(name: str) -> None:
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    remote, mark, local = name.partition("!")
    legal = bool(remote) and set(remote) <= letters and set(local) <= letters and len(name) <= 100

    def accepts(check: Any) -> bool:
        try:
            return bool(check(name))
        except TypeError:
            return False

    assert accepts(layer.require_valid_channel_name) == legal
    assert accepts(layer.require_valid_group_name) == (legal and not mark)


def test_receive_may_be_asked_to_end_at_the_mark() -> None:
    assert layer.require_valid_channel_name("a!", receive=True)
    with pytest.raises(TypeError, match="must end at the '!'"):
        layer.require_valid_channel_name("a!b", receive=True)


def test_lists_of_names() -> None:
    assert layer.valid_channel_names(["a", "b!"], receive=True)
    for names in ([], "a", None, ("a",)):
        with pytest.raises(TypeError, match="non-empty list"):
            layer.valid_channel_names(names)
    with pytest.raises(TypeError, match="ASCII"):
        layer.valid_channel_names(["a", "b c"])


def test_the_non_local_part() -> None:
    assert layer.non_local_name("a.b!c") == "a.b!"
    assert layer.non_local_name("a.b") == "a.b"


def test_deprecated_names_warn_and_work() -> None:
    with pytest.warns(DeprecationWarning, match="require_valid_channel_name"):
        assert layer.valid_channel_name("a")
    with pytest.warns(DeprecationWarning, match="require_valid_group_name"):
        assert layer.valid_group_name("a")


def test_match_type_and_length() -> None:
    assert layer.match_type_and_length("x" * layer.MAX_NAME_LENGTH)
    assert not layer.match_type_and_length("x" * (layer.MAX_NAME_LENGTH + 1))
    assert not layer.match_type_and_length(b"x")


def test_a_made_name_tells_its_client() -> None:
    client_id = new_client_id()
    name = new_channel_name("some.prefix", client_id)
    assert layer.require_valid_channel_name(name)
    assert name.startswith(f"some.prefix.{client_id}!")
    assert client_id_of(name) == client_id
    assert client_id_of("http.response!abc") is None
    assert client_id_of("normal") is None


@pytest.mark.parametrize("kind", ["Channel", "Group"])
def test_what_is_allowed_matches_the_error_also_as_a_pattern(kind: str) -> None:
    # Tests of layers that were written for Channels' base class give it to ``pytest.raises(match=...)``.
    check = layer.require_valid_channel_name if kind == "Channel" else layer.require_valid_group_name
    with pytest.raises(TypeError, match=layer.invalid_name_error.format(kind)):
        check("a" * 101)
