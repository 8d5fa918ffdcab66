"""The layer over shared memory under the conformance suite: every claim."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from apart import LayerApart

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.conformance.cancellation import CancellationTests
from channel_layers.conformance.capacity import CapacityTests
from channel_layers.conformance.counting import StatisticsTests
from channel_layers.conformance.delivery import DeliveryTests, PrefixTests
from channel_layers.conformance.expiry import ExpiryTests
from channel_layers.conformance.groups import GroupTests
from channel_layers.conformance.lifecycle import FlushTests
from channel_layers.conformance.messages import MessageTests
from channel_layers.conformance.properties import PropertyTests
from channel_layers.conformance.sizes import SizeTests
from channel_layers.ipc import IPCChannelLayer, client, door, inbox, site, turns


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

    options: ClassVar[dict[str, Any]] = {"message_memory": 7 << 20}

    @pytest.fixture(autouse=True)
    def _any_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (client, door, inbox, site, turns):
            monkeypatch.setattr(module, "IN_ORDER", False)


class TestIPCBetweenProcesses(
    MessageTests,
    SizeTests,
    DeliveryTests,
    PrefixTests,
    CancellationTests,
    GroupTests,
    CapacityTests,
    ExpiryTests,
    FlushTests,
    StatisticsTests,
    PropertyTests,
):
    """With a sender that lives in a process of its own, so that nothing but the shared memory connects the two."""

    features = Features()
    test_a_subclass_of_dict_is_a_message = None  # its local class cannot get to that process

    @asynccontextmanager
    async def layers(self, **config: Any) -> AsyncIterator[tuple[Any, Any]]:
        async with self.layer(**config) as receiver:
            sender = LayerApart(prefix=self.prefix, **config)
            try:
                yield sender, receiver
            finally:
                await asyncio.to_thread(sender.end)

    @pytest.fixture(autouse=True)
    def _prefix(self) -> None:
        self.prefix = f"test{secrets.token_hex(6)}"

    def make_layer(self, **config: Any) -> IPCChannelLayer:
        return IPCChannelLayer(prefix=self.prefix, **config)
