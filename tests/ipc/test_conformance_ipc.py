"""The layer over shared memory under the conformance suite: every claim."""

from __future__ import annotations

import secrets
from typing import Any, ClassVar

import pytest

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.ipc import IPCChannelLayer, client


class TestIPC(ChannelLayerConformance):
    features = Features()
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _prefix(self) -> None:
        self.prefix = f"test{secrets.token_hex(6)}"

    def make_layer(self, **config: Any) -> IPCChannelLayer:
        return IPCChannelLayer(prefix=self.prefix, **{**self.options, **config})


class TestIPCUnderTheLock(TestIPC):
    """With a reader that takes the lock each time, as on processors that reorder stores, and with less memory."""

    options: ClassVar[dict[str, Any]] = {"message_memory": 6 << 20}

    @pytest.fixture(autouse=True)
    def _any_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "IN_ORDER", False)
