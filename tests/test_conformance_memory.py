"""The in-memory layer under the conformance suite."""

from typing import Any

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer


class TestMemory(ChannelLayerConformance):
    features = Features(cross_process=False)

    def make_layer(self, **config: Any) -> InMemoryChannelLayer:
        return InMemoryChannelLayer(**config)
