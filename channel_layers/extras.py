"""What is not installed, and how to install it."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from .exceptions import InvalidChannelLayerError


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a module that belongs to one of the package's extras.

    :param module: the dotted name of the module.
    :param extra: the extra of ``channel_layers`` that installs it.
    :param purpose: who needs it, for the text of the error.
    :raises InvalidChannelLayerError: with the ``pip install`` line, if it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InvalidChannelLayerError(
            f"{purpose} needs {module!r}, which is not installed: pip install 'channel_layers[{extra}]'"
        ) from error
