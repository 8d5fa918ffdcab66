"""The public test suite of channel layers: subclass one class, and your layer is held against the specification."""

from .features import Features
from .suite import ChannelLayerConformance

__all__ = ["ChannelLayerConformance", "Features"]
