"""The layer over shared memory under the conformance suite: every claim."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

import pytest

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.ipc import IPCChannelLayer


class TestIPC(ChannelLayerConformance):
    features = Features()
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _prefix(self) -> None:
        self.prefix = f"test{secrets.token_hex(6)}"

    def make_layer(self, **config: Any) -> IPCChannelLayer:
        return IPCChannelLayer(prefix=self.prefix, **{**self.options, **config})
