"""CHANNEL_LAYERS, register_channel_layer and register_serializer with anything at all: an error that says where."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hostile import Case, anything, dicts, fuzz, leaves
from hypothesis import given
from hypothesis import strategies as st

from channel_layers import (
    InvalidChannelLayerError,
    configure,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    registry,
    serializers,
    unregister_channel_layer,
)
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.serializers import make_serializer, register_serializer

MEMORY = "channel_layers.memory.InMemoryChannelLayer"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry as in a program that has never heard of Django."""
    monkeypatch.setattr(registry, "_django_settings", lambda: None)
    monkeypatch.setattr(registry, "_settings", {})
    monkeypatch.setattr(registry, "_layers", {})
    monkeypatch.setattr(serializers, "_factories", dict(serializers._factories))


def require_short(error: Exception) -> None:
    assert 0 < len(str(error)) < 1500


def goes_on() -> None:
    async def use() -> None:
        configure({"default": {"BACKEND": MEMORY}})
        layer = get_channel_layer()
        await layer.send("x", {"n": 1})
        assert await layer.receive("x") == {"n": 1}

    asyncio.run(use())


PATHS = st.one_of(
    st.sampled_from([
        MEMORY, "channel_layers.memory", "os", "os.path", "a.b", ".", "..", "x..y", "channel_layers.memory.",
        "\ud800.x",
        "a\0.b", "channel_layers.extras.require_extra", "builtins.dict", "builtins.object", "unittest.mock.MagicMock",
        "channel_layers.redis.RedisChannelLayer", "x." * 5000 + "y", " .x", "channel_layers.spec.BaseChannelLayer",
    ]),
    st.text(max_size=12),
).map(lambda path: Case(repr(path[:60]), lambda: path))  # fmt: skip
ENTRY_KEYS = st.sampled_from(["BACKEND", "CONFIG", "TEST_CONFIG", "ROUTING", "backend"])
ENTRIES = st.one_of(
    st.fixed_dictionaries(
        {"BACKEND": PATHS, "CONFIG": dicts(st.sampled_from(["expiry", "capacity", "a"]), leaves)}
    ).map(lambda entry: Case(repr(entry), lambda: {key: case.make() for key, case in entry.items()})),
    dicts(ENTRY_KEYS, st.one_of(PATHS, anything)),
    anything,
)


@fuzz(250)
@given(st.one_of(dicts(st.sampled_from(["default", "", "other", "\ud800"]), ENTRIES), anything))
def test_channel_layers(case: Case) -> None:
    try:
        configure(case.make())
    except InvalidChannelLayerError as error:
        require_short(error)
        assert not has_layers() or get_channel_layer() is not None
    else:
        for alias in ("default", "", "other", "\ud800"):
            try:
                layer = get_channel_layer(alias)
            except InvalidChannelLayerError as error:
                require_short(error)
            else:
                assert layer is None or callable(layer.send)
    goes_on()


@fuzz(100)
@given(anything)
def test_aliases(case: Case) -> None:
    configure({"default": {"BACKEND": MEMORY}})
    try:
        assert get_channel_layer(case.make()) is None
    except InvalidChannelLayerError as error:
        require_short(error)
    unregister_channel_layer(case.make())
    goes_on()


@fuzz(100)
@given(anything, anything)
def test_layers_that_are_none(alias: Case, layer: Case) -> None:
    for arguments in ((alias.make(), layer.make()), ("other", layer.make()), (alias.make(), InMemoryChannelLayer())):
        try:
            register_channel_layer(*arguments)
        except InvalidChannelLayerError as error:
            require_short(error)
    goes_on()


@fuzz(150)
@given(anything, anything)
def test_serializers_that_are_none(name: Case, factory: Case) -> None:
    def returns() -> Any:
        return factory.make()

    for given_name, given_factory in (("mine", factory.make()), (name.make(), returns), ("mine", returns)):
        try:
            register_serializer(given_name, given_factory)
            made = make_serializer(given_name)
        except InvalidChannelLayerError as error:
            require_short(error)
        else:
            assert callable(made.encode)
    assert make_serializer("json").decode(b'{"a":1}') == {"a": 1}
