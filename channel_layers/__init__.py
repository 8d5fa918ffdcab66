"""Channel layers for Django Channels and for every other ASGI application."""

from .exceptions import (
    ChannelFull,
    InvalidChannelLayerError,
    InvalidMessage,
    LayerClosed,
    LayerUnavailable,
    MessageTooLarge,
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
]

__version__ = "0.1.0"
