"""The Redis queue layer under load while Sentinels put a replica in the place of its server.

Replication is asynchronous: what the former master had accepted and not handed on is lost, and what was taken from a
normal channel there may come again. Nothing else is lost, and nothing else comes twice.
"""

from __future__ import annotations

import asyncio

import pytest
from numbered import Traffic, until
from redis_sentinels import FAILOVER_DEADLINE, SentinelTopology


def host(topology: SentinelTopology) -> dict[str, object]:
    return {"sentinels": topology.sentinel_addresses, "master_name": topology.service_name}


@pytest.mark.asyncio
async def test_master_is_killed(sentinel_topology: SentinelTopology) -> None:
    async with Traffic(host(sentinel_topology)) as traffic:
        await asyncio.to_thread(sentinel_topology.wait_for_replicas)  # the memberships are what matters
        former = sentinel_topology.kill_master()
        at_the_end = traffic.unread()
        master = await asyncio.to_thread(sentinel_topology.wait_for_master, former)
        await until(lambda: traffic.is_listed(master.client()), "both are listed", FAILOVER_DEADLINE)
        lost = await traffic.lost(may_be_repeated=range(at_the_end["normal"].stop))
    for name, numbers in lost.items():
        assert numbers <= set(at_the_end[name])


@pytest.mark.asyncio
async def test_master_is_replaced(sentinel_topology: SentinelTopology) -> None:
    async with Traffic(host(sentinel_topology)) as traffic:
        before = traffic.unread()
        former = await asyncio.to_thread(sentinel_topology.failover)
        await asyncio.to_thread(sentinel_topology.wait_for_master, former)
        # Until then it takes itself for the master, and accepts what it will have to forget.
        await until(lambda: former.role == "slave", "the former master is a replica", FAILOVER_DEADLINE)
        await traffic.flows()
        meanwhile = traffic.since(before)
        lost = await traffic.lost(may_be_repeated=meanwhile["normal"])
    for name, numbers in lost.items():
        assert numbers <= set(meanwhile[name])
