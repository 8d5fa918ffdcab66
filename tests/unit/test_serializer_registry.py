from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import pytest

from channel_layers import InvalidChannelLayerError, serializers
from channel_layers.encryption import make_wire_serializer
from channel_layers.serializers import JsonSerializer, MsgpackSerializer, make_serializer, register_serializer


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names as they are; what a test adds is gone after it."""
    known = dict(serializers._factories)
    monkeypatch.setattr(serializers, "_factories", known)
    return known


class Reversed:
    """A format that is not ours: JSON backwards."""

    def encode(self, message: Any, /) -> bytes:
        return JsonSerializer().encode(message)[::-1]

    def decode(self, payload: bytes, /) -> dict[str, Any]:
        return JsonSerializer().decode(payload[::-1])


def reverse() -> Reversed:
    return Reversed()


def test_two_formats_are_known_from_the_start() -> None:
    pytest.importorskip("msgpack")
    assert type(make_serializer("msgpack")) is MsgpackSerializer
    assert type(make_serializer("json")) is JsonSerializer
    assert make_serializer("json") is not make_serializer("json")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    "factory", [Reversed, functools.partial(Reversed), reverse], ids=["class", "partial", "function"]
)
def test_a_class_or_any_callable_can_be_registered(factory: Any) -> None:
    register_serializer("reversed", factory)
    made = make_serializer("reversed")
    assert type(made) is Reversed
    assert made.encode({"a": 1}) == b'}1:"a"{'
    assert make_wire_serializer("reversed").decode(b'}1:"a"{') == {"a": 1}


@pytest.mark.usefixtures("registry")
def test_a_known_name_can_be_given_to_another() -> None:
    register_serializer("json", Reversed)
    assert type(make_serializer("json")) is Reversed


@pytest.mark.parametrize("name", ["xml", "", "JSON", None, 5, ["json"], b"json", JsonSerializer])
def test_an_unknown_name_is_an_error_that_lists_the_known_ones(name: Any) -> None:
    with pytest.raises(InvalidChannelLayerError) as caught:
        make_serializer(name)
    assert str(caught.value) == f"serializer_format must be one of 'msgpack', 'json', not {name!r}"


class OnlyEncodes:
    def encode(self, message: Any, /) -> bytes:
        return b""


class WantsArguments(Reversed):
    def __init__(self, level: int) -> None:
        self.level = level


@pytest.mark.parametrize(
    ("name", "factory", "problem"),
    [
        (None, Reversed, "the name of a serializer must be a non-empty str, not None"),
        ("", Reversed, "the name of a serializer must be a non-empty str, not ''"),
        ("bad", None, "serializer 'bad': None cannot be called; give a class"),
        ("bad", "path.of.Class", "serializer 'bad': 'path.of.Class' cannot be called; give a class"),
        ("bad", Reversed(), "Reversed object at .* cannot be called; give a class"),
        ("bad", OnlyEncodes, "OnlyEncodes'> has no method 'decode'$"),
        ("bad", dict, "<class 'dict'> has no method 'encode' and no method 'decode'$"),
    ],
)
def test_what_makes_no_serializer_is_not_registered(
    registry: dict[str, Any], name: Any, factory: Any, problem: str
) -> None:
    before = dict(registry)
    with pytest.raises(InvalidChannelLayerError, match=problem):
        register_serializer(name, factory)
    assert registry == before


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        (WantsArguments, "WantsArguments'> failed: TypeError: .*missing 1 required positional argument: 'level'"),
        (lambda: 1 / 0, "failed: ZeroDivisionError: division by zero"),
        (lambda: None, "None has no method 'encode' and no method 'decode'"),
        (functools.partial(OnlyEncodes), "OnlyEncodes object at .* has no method 'decode'"),
        (lambda: Reversed, "returned the class .*Reversed'>, not an object of it"),
    ],
)
def test_a_factory_that_fails_is_an_error_that_names_the_option(factory: Any, problem: str) -> None:
    register_serializer("bad", factory)
    with pytest.raises(InvalidChannelLayerError, match=f"^serializer_format 'bad': .*{problem}"):
        make_serializer("bad")


def test_without_msgpack_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(InvalidChannelLayerError) as caught:
        make_serializer("msgpack")
    text = "serializer_format 'msgpack' needs 'msgpack', which is not installed: pip install 'channel_layers[redis]'"
    assert str(caught.value) == text


def test_the_modules_import_without_their_extras() -> None:
    code = "import sys, channel_layers.encryption; sys.exit(bool({'msgpack', 'cryptography'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
