"""Which layer has which alias: the ``CHANNEL_LAYERS`` dict, with Django and without.

In a Django project the settings are the source, and where Channels is installed its own manager keeps the layers, so
that both hand out the same objects and ``override_settings`` resets both. Elsewhere :func:`configure` takes the same
dict. A layer is built when it is first asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from typing import Any

from .checks import checking, shown
from .exceptions import InvalidChannelLayerError
from .spec import BaseChannelLayer

_KEYS = ("BACKEND", "CONFIG", "TEST_CONFIG")
_LAYER_VERBS = ("send", "receive", "new_channel")

# No lock guards these two: building a layer imports modules, and whoever holds a lock meanwhile can wait for a thread
# that imports one and asks for a layer. Each step on them is one that threads cannot split.
_settings: Mapping[str, Any] = {}
_layers: dict[str, BaseChannelLayer] = {}


def configure(CHANNEL_LAYERS: Mapping[str, Any]) -> None:  # noqa: N803 - called like the setting
    """Say which layer each alias means, as ``settings.CHANNEL_LAYERS`` does in Django. Replaces what was said before.

    In a Django project the layers are built at once and given to Channels; prefer the setting there.

    :param CHANNEL_LAYERS: a dict from alias to ``{"BACKEND": path, "CONFIG": {...}, "TEST_CONFIG": {...}}``.
    :raises InvalidChannelLayerError: naming the alias and the key that is wrong; nothing has changed then.
    """
    global _settings  # noqa: PLW0603 - one registry a process, as the contract has it
    with checking("CHANNEL_LAYERS"):
        if not isinstance(CHANNEL_LAYERS, Mapping):
            raise InvalidChannelLayerError(
                f"CHANNEL_LAYERS must be a dict from alias to layer, not {shown(CHANNEL_LAYERS)}"
            )
        for alias in CHANNEL_LAYERS:
            if not isinstance(alias, str):
                raise InvalidChannelLayerError(f"CHANNEL_LAYERS: an alias must be a str, not {shown(alias)}")
            _entry(CHANNEL_LAYERS, alias)
    built = {}
    if _django_settings() is not None:
        built = {alias: _build(CHANNEL_LAYERS, alias, "CONFIG") for alias in CHANNEL_LAYERS}
    layers, _ = _source()
    for alias in (*_settings, *_layers):
        layers.pop(alias, None)
    _settings = dict(CHANNEL_LAYERS)
    layers.update(built)


def get_channel_layer(alias: str = "default") -> BaseChannelLayer | None:
    """The layer of an alias, built now if need be; None for an alias that is not configured.

    A layer of another package is returned as it is, though it may have less than the type says: with Channels
    installed, this is the object that its own function returns.

    :raises InvalidChannelLayerError: naming alias, path and option if the layer cannot be built.
    """
    if not isinstance(alias, str):
        return None
    layers, settings = _source()
    if alias not in layers and alias in settings:
        built = _build(settings, alias, "CONFIG")
        return layers.setdefault(alias, built)  # of two threads that built one, both get the first
    return layers.get(alias)


def make_test_layer(alias: str = "default") -> Any:
    """A new layer of an alias with its ``TEST_CONFIG``; it is not registered.

    :raises InvalidChannelLayerError: if the alias is not configured, has no ``TEST_CONFIG``, or cannot be built.
    """
    _, settings = _source()
    if not isinstance(alias, str) or alias not in settings:
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS has no {shown(alias)}; it has {_listed(settings)}")
    if "TEST_CONFIG" not in _entry(settings, alias):
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS[{shown(alias)}] has no TEST_CONFIG")
    return _build(settings, alias, "TEST_CONFIG")


def register_channel_layer(alias: str, layer: Any) -> None:
    """Give a layer that you built yourself an alias, in place of what the alias meant before.

    :raises InvalidChannelLayerError: if it is no layer, or the alias no string.
    """
    if not isinstance(alias, str) or not alias:
        raise InvalidChannelLayerError(f"an alias must be a non-empty str, not {shown(alias)}")
    if not _is_layer(layer):
        raise InvalidChannelLayerError(
            f"{shown(alias)}: {shown(layer)} is no channel layer object with {_listed(_LAYER_VERBS)}"
        )
    layers, _ = _source()
    layers[alias] = layer


def unregister_channel_layer(alias: str) -> None:
    """Forget the layer of an alias, and what :func:`configure` said of it. It is not closed: its users may go on."""
    global _settings  # noqa: PLW0603
    layers, _ = _source()
    layers.pop(alias, None)
    _settings = {name: entry for name, entry in _settings.items() if name != alias}


def has_layers() -> bool:
    """Whether any alias has a layer, built or only configured."""
    layers, settings = _source()
    return bool(layers) or bool(settings)


def _is_layer(candidate: Any) -> bool:
    try:
        is_class = isinstance(candidate, type)
        return not is_class and all(callable(getattr(candidate, verb, None)) for verb in _LAYER_VERBS)
    except Exception:  # of an object that answers to any name, but not now
        return False


def _source() -> tuple[MutableMapping[str, BaseChannelLayer], Mapping[str, Any]]:
    """The layers that are built, and what is said of those that are not."""
    django_settings = _django_settings()
    if django_settings is None:
        return _layers, _settings
    said = getattr(django_settings, "CHANNEL_LAYERS", {})
    if not isinstance(said, Mapping):
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS must be a dict from alias to layer, not {shown(said)}")
    said = {**said, **_settings}  # what was said by a call is meant for just this program
    try:
        from channels.layers import channel_layers as manager  # noqa: PLC0415 - imports Django
    except ImportError:
        _follow_django()
        return _layers, said
    backends: dict[str, BaseChannelLayer] = manager.backends
    for alias in tuple(_layers):  # made before Django was configured
        backends.setdefault(alias, _layers[alias])
        _layers.pop(alias, None)
    return backends, said


def _django_settings() -> Any:
    """Django's settings object if this is a Django project. A program that never imports Django does not import it."""
    if "django.conf" not in sys.modules and not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return None
    try:
        from django.conf import settings  # noqa: PLC0415
    except ImportError:
        return None
    return settings if settings.configured or os.environ.get("DJANGO_SETTINGS_MODULE") else None


def _follow_django() -> None:
    """Forget what was built from the setting when tests override it, as Channels' manager does."""
    from django.core.signals import setting_changed  # noqa: PLC0415

    setting_changed.connect(_forget_changed_setting, dispatch_uid=__name__)  # once, however often it is called


def _forget_changed_setting(*, setting: str, **_: Any) -> None:
    if setting == "CHANNEL_LAYERS":
        _layers.clear()


def _build(settings: Mapping[str, Any], alias: str, config_key: str) -> Any:
    entry = _entry(settings, alias)
    path = entry["BACKEND"]
    where = f"CHANNEL_LAYERS[{shown(alias)}]"
    make_layer = _imported(path, where)
    try:
        layer = make_layer(**entry.get(config_key, {}))
    except Exception as error:
        raise InvalidChannelLayerError(f"{where}[{config_key!r}]: {path}: {_reason(error)}") from error
    if not _is_layer(layer):
        raise InvalidChannelLayerError(f"{where}['BACKEND']: {shown(path)} makes no channel layer but {shown(layer)}")
    return layer


def _entry(settings: Mapping[str, Any], alias: str) -> Mapping[str, Any]:
    """What the settings say of an alias, after a look at its form."""
    where = f"CHANNEL_LAYERS[{shown(alias)}]"
    entry = settings[alias]
    if not isinstance(entry, Mapping):
        raise InvalidChannelLayerError(f"{where} must be a dict with the key 'BACKEND', not {shown(entry)}")
    if "ROUTING" in entry:
        raise InvalidChannelLayerError(f"{where} has the key 'ROUTING' of Channels 1: remove it, routing is in asgi.py")
    if unknown := [key for key in entry if key not in _KEYS]:
        raise InvalidChannelLayerError(
            f"{where} has the unknown key {shown(unknown[0])}; the keys are {_listed(_KEYS)}"
        )
    if not isinstance(entry.get("BACKEND"), str):
        raise InvalidChannelLayerError(
            f"{where}['BACKEND'] must be the path of a layer class, such as "
            f"'channel_layers.memory.InMemoryChannelLayer', not {shown(entry.get('BACKEND'))}"
        )
    for key in ("CONFIG", "TEST_CONFIG"):
        if not isinstance(entry.get(key, {}), Mapping):
            raise InvalidChannelLayerError(f"{where}[{key!r}] must be a dict of options, not {shown(entry[key])}")
    return entry


def _imported(path: str, where: str) -> Any:
    module_path, _, name = path.rpartition(".")
    if not module_path or module_path.startswith("."):
        raise InvalidChannelLayerError(
            f"{where}['BACKEND']: cannot import {shown(path)}: it is no path 'package.module.Class'"
        )
    try:
        module = import_module(module_path)
        found = getattr(module, name, None)
    except Exception as error:  # of what the module does, or of what is no name of a module at all
        raise InvalidChannelLayerError(f"{where}['BACKEND']: cannot import {shown(path)}: {_reason(error)}") from error
    if not callable(found):
        raise InvalidChannelLayerError(f"{where}['BACKEND']: cannot import {shown(path)}: no class of that name there")
    return found


def _reason(error: Exception) -> str:
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def _listed(names: Any) -> str:
    return ", ".join(map(shown, names)) or "none"
