"""Staying awake for the answer to a lone message, with a server: how long it takes, no test asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from numbered import until
from proxy import TcpProxy
from pubsub_sites import PubSubSite, take
from redis_servers import RedisServer
from sites import talk

from channel_layers.redis import RedisPubSubChannelLayer, vigil
from channel_layers.redis.vigil import Vigil


@pytest.fixture(autouse=True)
def _has_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vigil, "_HAS_PROCESSORS", True)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Vigil]:
    """The vigil of each lone message."""
    kept: list[Vigil] = []
    keep = Vigil.keep

    def watched(self: Vigil, loop: asyncio.AbstractEventLoop) -> None:
        kept.append(self)
        keep(self, loop)

    monkeypatch.setattr(Vigil, "keep", watched)
    return kept


@pytest.fixture
def site(redis_server: RedisServer) -> Iterator[PubSubSite]:
    site = PubSubSite(redis_server)
    yield site
    site.close()


@pytest.mark.asyncio
async def test_nobody_stays_awake_for_a_server_far_away(
    redis_server: RedisServer, site: PubSubSite, kept: list[Vigil]
) -> None:
    receiver = site.layer()
    channel = await receiver.new_channel()
    with TcpProxy(*redis_server.address) as proxy:
        async with RedisPubSubChannelLayer([proxy.address], prefix=site.prefix) as sender:
            await talk(sender, await sender.new_channel(), 20)
            await until(lambda: sender._client.shards[0].near.connection, "the loop becomes the home")
            proxy.delay = 0.005
            kept.clear()
            for n in range(20):
                await sender.send(channel, {"n": n})
                assert kept[-1]._loop is None
            assert len(kept) == 20
            assert [(await take(receiver, channel))["n"] for _ in range(20)] == [*range(20)]


@pytest.mark.asyncio
async def test_nobody_stays_awake_when_the_connection_is_gone(
    site: PubSubSite, kept: list[Vigil], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vigil, "LONGEST", 3600.0)  # so that only the answer, or the end, ends it
    sender, receiver = site.layer(), site.layer()
    channel = await receiver.new_channel()
    await talk(sender, await sender.new_channel(), 20)
    await until(lambda: sender._client.shards[0].near.connection, "the loop becomes the home")
    for n in range(3):
        await sender.send(channel, {"n": n})
    kept.clear()
    sending = asyncio.ensure_future(sender.send(channel, {"n": 3}))
    await asyncio.sleep(0)
    assert len(kept) == 1
    assert kept[0]._loop is asyncio.get_running_loop()
    await sender.close()
    await asyncio.wait([sending])
    await until(lambda: kept[0]._loop is None, "it is over")
