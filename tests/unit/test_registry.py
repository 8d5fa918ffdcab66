"""The registry without Django; with Django it is tested in processes of their own, by test_registry_django.py."""

from __future__ import annotations

import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import channel_layers
from channel_layers import InvalidChannelLayerError, extras, registry
from channel_layers.memory import InMemoryChannelLayer

MEMORY = "channel_layers.memory.InMemoryChannelLayer"


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    channel_layers.configure({})
    yield
    channel_layers.configure({})


def test_nothing_is_configured() -> None:
    assert channel_layers.get_channel_layer() is None
    assert channel_layers.get_channel_layer("other") is None
    assert not channel_layers.has_layers()


def test_a_layer_is_built_when_it_is_first_asked_for_and_once() -> None:
    channel_layers.configure({
        "default": {"BACKEND": MEMORY, "CONFIG": {"capacity": 7}},
        "broken": {"BACKEND": "no.such.Layer"},
    })  # fmt: skip
    assert channel_layers.has_layers()
    layer = channel_layers.get_channel_layer()
    assert isinstance(layer, InMemoryChannelLayer)
    assert layer.capacity == 7
    assert channel_layers.get_channel_layer("default") is layer
    assert channel_layers.get_channel_layer("third") is None


def test_configuring_again_replaces() -> None:
    channel_layers.configure({"default": {"BACKEND": MEMORY}, "other": {"BACKEND": MEMORY}})
    first = channel_layers.get_channel_layer()
    channel_layers.configure({"default": {"BACKEND": MEMORY}})
    assert channel_layers.get_channel_layer() is not first
    assert channel_layers.get_channel_layer("other") is None


def test_register_and_unregister() -> None:
    layer = InMemoryChannelLayer()
    channel_layers.register_channel_layer("mine", layer)
    assert channel_layers.get_channel_layer("mine") is layer
    assert channel_layers.has_layers()
    channel_layers.unregister_channel_layer("mine")
    channel_layers.unregister_channel_layer("mine")
    assert channel_layers.get_channel_layer("mine") is None
    assert not channel_layers.has_layers()


@pytest.mark.parametrize("layer", [None, "channel_layers.memory.InMemoryChannelLayer", InMemoryChannelLayer, object()])
def test_only_layers_are_registered(layer: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match=r"'mine'.*no channel layer object"):
        channel_layers.register_channel_layer("mine", layer)


@pytest.mark.parametrize("alias", [None, "", 5])
def test_an_alias_is_a_str(alias: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match="alias"):
        channel_layers.register_channel_layer(alias, InMemoryChannelLayer())


BAD_FORM = [
    ([], "CHANNEL_LAYERS must be a dict"),
    (None, "CHANNEL_LAYERS must be a dict"),
    ({"chat": MEMORY}, r"CHANNEL_LAYERS\['chat'\] must be a dict"),
    ({"chat": {}}, r"CHANNEL_LAYERS\['chat'\]\['BACKEND'\] must be the path of a layer class.*None"),
    ({"chat": {"BACKEND": InMemoryChannelLayer}}, r"\['BACKEND'\] must be the path"),
    ({"chat": {"BACKEND": MEMORY, "ROUTING": "x"}}, "'ROUTING' of Channels 1: remove it"),
    ({"chat": {"BACKEND": MEMORY, "OPTIONS": {}}}, r"CHANNEL_LAYERS\['chat'\] has the unknown key 'OPTIONS'"),
    ({"chat": {"BACKEND": MEMORY, "CONFIG": []}}, r"CHANNEL_LAYERS\['chat'\]\['CONFIG'\] must be a dict"),
    ({"chat": {"BACKEND": MEMORY, "TEST_CONFIG": "x"}}, r"\['TEST_CONFIG'\] must be a dict"),
]


@pytest.mark.parametrize(("settings", "text"), BAD_FORM)
def test_a_dict_of_the_wrong_form_is_refused_at_once(settings: Any, text: str) -> None:
    with pytest.raises(InvalidChannelLayerError, match=text):
        channel_layers.configure(settings)
    assert not channel_layers.has_layers()


BAD_LAYER = [
    ("nodots", {}, "cannot import 'nodots'"),
    ("no.such.Layer", {}, "cannot import 'no.such.Layer': No module named 'no'"),
    ("..no.such.Layer", {}, "it is no path 'package.module.Class'"),
    (".Layer", {}, "it is no path"),
    ("__class__", {}, "it is no path"),
    ("channel_layers.memory.Nothing", {}, "no class of that name"),
    ("channel_layers.registry._listed", {"names": []}, "makes no channel layer but 'none'"),
    ("test_registry.fails", {}, "AssertionError"),
    ("channel_layers.memory.MappingProxyType", {"x": 1}, "MappingProxyType"),
    (MEMORY, {"hosts": []}, rf"\['CONFIG'\]: {MEMORY}: InMemoryChannelLayer has no option 'hosts'"),
    (MEMORY, {"capacity": "many"}, "capacity must be a whole number of messages"),
    (MEMORY, {"expiry": None}, "expiry must be a number of seconds"),
    (MEMORY, {5: 5}, "CONFIG"),
]


def fails() -> None:
    raise AssertionError


@pytest.mark.parametrize(("path", "config", "text"), BAD_LAYER)
def test_a_layer_that_cannot_be_built_names_alias_path_and_option(path: str, config: Any, text: str) -> None:
    channel_layers.configure({"chat": {"BACKEND": path, "CONFIG": config}})
    with pytest.raises(InvalidChannelLayerError, match=text) as caught:
        channel_layers.get_channel_layer("chat")
    assert "CHANNEL_LAYERS['chat']" in str(caught.value)
    assert path in str(caught.value)


def test_the_test_config_makes_a_layer_of_its_own() -> None:
    channel_layers.configure({
        "default": {"BACKEND": MEMORY, "CONFIG": {"capacity": 7}, "TEST_CONFIG": {"capacity": 3}},
        "bare": {"BACKEND": MEMORY},
    })  # fmt: skip
    assert registry.make_test_layer().capacity == 3
    assert channel_layers.get_channel_layer().capacity == 7
    with pytest.raises(InvalidChannelLayerError, match=r"CHANNEL_LAYERS\['bare'\] has no TEST_CONFIG"):
        registry.make_test_layer("bare")
    with pytest.raises(InvalidChannelLayerError, match="has no 'missing'; it has 'default', 'bare'"):
        registry.make_test_layer("missing")


def test_a_missing_extra_comes_with_its_pip_install_line() -> None:
    with pytest.raises(InvalidChannelLayerError, match=r"no_such_module.*pip install 'channel_layers\[redis\]'"):
        extras.require_extra("no_such_module", "redis", "RedisChannelLayer")
    assert extras.require_extra("json", "redis", "anything").__name__ == "json"


def test_a_module_that_asks_for_a_layer_while_it_is_imported_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_backend.py").write_text(
        "import channel_layers, channel_layers.memory\n"
        "channel_layers.imports_now()\n"
        "other = channel_layers.get_channel_layer('other')\n"
        "Layer = channel_layers.memory.InMemoryChannelLayer\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    # It waits for the import, and must hold nothing meanwhile.
    asked = threading.Thread(target=channel_layers.get_channel_layer, daemon=True)
    monkeypatch.setattr(channel_layers, "imports_now", asked.start, raising=False)
    channel_layers.configure({"default": {"BACKEND": "slow_backend.Layer"}, "other": {"BACKEND": MEMORY}})
    importing = threading.Thread(target=importlib.import_module, args=("slow_backend",), daemon=True)
    importing.start()
    importing.join(10)
    asked.join(10)
    assert not importing.is_alive()
    assert not asked.is_alive()


def test_django_is_not_imported() -> None:
    code = """if True:
        import sys
        import channel_layers
        channel_layers.configure({"default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}})
        assert channel_layers.get_channel_layer() is channel_layers.get_channel_layer("default")
        sys.exit("django was imported" if "django" in sys.modules else 0)
    """
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})
