"""Channel layers for Django Channels and for every other ASGI application."""

from .exceptions import (
    ChannelFull,
    InvalidChannelLayerError,
    InvalidMessage,
    LayerClosed,
    LayerUnavailable,
    MessageTooLarge,
)
from .registry import (
    configure,
    get_channel_layer,
    has_layers,
    register_channel_layer,
    unregister_channel_layer,
)
from .spec import BaseChannelLayer

__all__ = [
    "BaseChannelLayer",
    "ChannelFull",
    "InvalidChannelLayerError",
    "InvalidMessage",
    "LayerClosed",
    "LayerUnavailable",
    "MessageTooLarge",
    "configure",
    "get_channel_layer",
    "has_layers",
    "register_channel_layer",
    "unregister_channel_layer",
]

__version__ = "0.1.0"
