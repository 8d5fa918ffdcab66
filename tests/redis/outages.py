"""What the tests of outages share."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from numbered import Traffic

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer

#: Seconds after which the layers of these tests take a server that does not answer for one that is away.
SEND_TIMEOUT = 0.4

#: Seconds after which a process that is gone is forgotten, where a test waits for it.
LEASE = 1.5


def make_layer(host: Any, **options: Any) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[host], **{"prefix": Traffic.prefix, "send_timeout": SEND_TIMEOUT, **options})


async def until_accepted(verb: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(LayerUnavailable):
            return await verb()


async def send_until_accepted(layer: RedisChannelLayer, channel: str) -> None:
    await until_accepted(lambda: layer.send(channel, {"type": "at last"}))
