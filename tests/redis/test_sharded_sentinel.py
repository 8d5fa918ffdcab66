"""Two masters behind Sentinels and a plain server: one master is killed under load, and a replica takes its place.

Replication is asynchronous: what the former master had accepted and not handed on is lost, and what was taken from a
normal channel there may come again. On the other servers nothing is lost, and nothing comes twice.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from numbered import until
from redis_sentinels import FAILOVER_DEADLINE, SentinelTopology
from redis_servers import RedisServer, require_server
from sharded_sites import LAYERS, ShardedSite
from sharded_traffic import Traffic


@pytest.mark.asyncio
@pytest.mark.parametrize("layer_class", LAYERS)
async def test_one_master_of_two_is_killed(layer_class: Any) -> None:
    binaries = require_server("redis-server"), require_server("redis-sentinel")
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(RedisServer(binaries[0]))
        topologies = [stack.enter_context(SentinelTopology(*binaries)) for _ in range(2)]
        hosts = [
            *(
                {"sentinels": each.sentinel_addresses, "master_name": each.service_name, "name": f"master {number}"}
                for number, each in enumerate(topologies)
            ),
            plain.address,
        ]
        async with Traffic(ShardedSite(layer_class, [plain], hosts)) as traffic:
            await asyncio.to_thread(topologies[0].wait_for_replicas)  # the memberships are what matters
            former = topologies[0].kill_master()
            at_the_end = traffic.unread(0)
            await traffic.flows(1, 2)
            master = await asyncio.to_thread(topologies[0].wait_for_master, former)
            await until(lambda: traffic.is_listed(0, master), "both are members", FAILOVER_DEADLINE)
            await traffic.flows()
            until_it_flows = traffic.since(0, at_the_end)
            lost = await traffic.lost(may_be_repeated={0: range(at_the_end["normal"].stop)})
            traffic.undisturbed(1, 2)
    assert not any(numbers for place in (1, 2) for numbers in lost[place].values())
    for name, numbers in lost[0].items():
        is_kept = traffic.site.is_queue or name == "normal"
        assert numbers <= set((at_the_end if is_kept else until_it_flows)[name])
