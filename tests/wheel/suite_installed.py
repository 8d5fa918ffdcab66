"""The conformance suite as a stranger runs it: from the installed wheel, with pytest-asyncio in auto mode.

The name keeps it out of a plain run of the checkout's tests, where the wheel is not installed.
"""

import pathlib
from typing import Any

import channel_layers
from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer


def test_the_package_is_the_installed_one() -> None:
    assert "site-packages" in pathlib.Path(channel_layers.__file__).parts


class TestInMemory(ChannelLayerConformance):
    features = Features(cross_instance=False, cross_process=False)

    def make_layer(self, **config: Any) -> InMemoryChannelLayer:
        return InMemoryChannelLayer(**config)
