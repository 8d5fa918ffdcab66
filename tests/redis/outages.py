"""What the tests of outages share."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from numbered import Traffic
from redis_servers import SEND_TIMEOUT

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer


def make_layer(host: Any, **options: Any) -> RedisChannelLayer:
    return RedisChannelLayer(hosts=[host], **{"prefix": Traffic.prefix, "send_timeout": SEND_TIMEOUT, **options})


async def until_accepted(verb: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(LayerUnavailable):
            return await verb()


async def send_until_accepted(layer: RedisChannelLayer, channel: str) -> None:
    await until_accepted(lambda: layer.send(channel, {"type": "at last"}))
