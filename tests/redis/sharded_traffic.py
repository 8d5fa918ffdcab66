"""A load over several servers, of which each has lanes of its own; see ``numbered``."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeVar

from numbered import Lane, Reader, soon, until
from redis_servers import SEND_TIMEOUT, RedisServer
from sharded_sites import ShardedSite, take

from channel_layers import LayerUnavailable

Found = TypeVar("Found")


async def until_accepted(verb: Callable[[], Awaitable[Found]]) -> Found:
    """Its result, as soon as the server is there; within the deadline."""

    async def again() -> Found:
        while True:
            with contextlib.suppress(LayerUnavailable):
                return await verb()

    return await soon(again())


class Traffic:
    """Three layer objects over all servers: one sends, two receive. A context manager.

    The first receiver has the channels, and is in the groups with them; the second is in the groups as well, and reads
    the normal channels.
    """

    def __init__(self, site: ShardedSite, **options: Any) -> None:
        self.site = site
        # Large enough that nothing is refused or dropped for want of room: what is lost has been lost otherwise.
        self.options = {"capacity": 100_000, "send_timeout": SEND_TIMEOUT, **options}
        self.sender, self.first, self.second = (site.layer(**self.options) for _ in "123")
        self.lanes: list[dict[str, Lane]] = []
        self.readers: list[Reader] = []
        self.groups: list[str] = []

    async def __aenter__(self) -> Traffic:
        self.groups, jobs = self.site.names("room"), self.site.names("jobs")
        firsts, seconds = [
            await until_accepted(functools.partial(self.site.channels, layer)) for layer in (self.first, self.second)
        ]
        for group, first, second, queue in zip(self.groups, firsts, seconds, jobs, strict=True):
            for layer, channel in ((self.first, first), (self.second, second)):
                await until_accepted(functools.partial(layer.group_add, group, channel))
            one, two, three = Reader(self.first, first), Reader(self.second, second), Reader(self.second, queue)
            self.readers += one, two, three
            self.lanes.append(
                {
                    "direct": Lane("direct", functools.partial(self.sender.send, first), [one]),
                    "group": Lane("group", functools.partial(self.sender.group_send, group), [one, two]),
                    "normal": Lane("normal", functools.partial(self.sender.send, queue), [three]),
                }
            )
        await self.flows()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks():
            task.cancel()
        await asyncio.gather(*self.tasks(), return_exceptions=True)
        await self.site.close()

    def tasks(self) -> list[asyncio.Task[None]]:
        return [each.task for each in (*self.readers, *(lane for lanes in self.lanes for lane in lanes.values()))]

    async def flows(self, *places: int) -> None:
        """What is sent from now on to names of these servers, by default of all, is read by all readers."""
        await self._until_each(
            places, lambda lane, issued: all(reader.last(lane.name) > issued for reader in lane.readers), "flow"
        )

    async def is_refused(self, *places: int) -> None:
        """What is sent from now on is refused on all lanes of these servers, no later than a send may take."""
        await self._until_each(
            places,
            lambda lane, issued: any(
                n > issued and f"waited {SEND_TIMEOUT:g} s" in str(error) for n, error in lane.refused.items()
            ),
            "refused",
        )

    async def _until_each(self, places: Sequence[int], holds: Callable[[Lane, int], bool], what: str) -> None:
        lanes = [lane for place in places or range(self.site.count) for lane in self.lanes[place].values()]
        issued = [lane.issued for lane in lanes]

        def all_hold() -> bool:
            for task in self.tasks():  # no receive has ended, and no send has raised anything but LayerUnavailable
                if task.done():
                    task.result()
            return all(map(holds, lanes, issued))

        await until(all_hold, lambda: f"{what}: {lanes}")

    def unread(self, place: int) -> dict[str, range]:
        """By lane, what has been sent to names of a server and some reader has not got."""
        return {name: lane.unread() for name, lane in self.lanes[place].items()}

    def since(self, place: int, earlier: dict[str, range]) -> dict[str, range]:
        """By lane, what was unread earlier, and all that has been sent from then until now."""
        return {name: range(earlier[name].start, lane.issued + 1) for name, lane in self.lanes[place].items()}

    def is_listed(self, place: int, server: RedisServer) -> bool:
        """Whether what is sent to a server's group from now on reaches both members."""
        group = self.groups[place]
        if self.site.is_queue:
            return bool(server.client().hlen(f"{self.site.prefix}:cl1:group:{group}") == 2)
        name = f"{self.site.prefix}:cl1:pubsub:0:group:{group}"
        return dict(server.client().pubsub_numsub(name)) == {name.encode(): 2}

    async def lost(
        self,
        may_be_repeated: dict[int, Collection[int]] = {},  # noqa: B006 - nobody changes it
    ) -> list[dict[str, set[int]]]:
        """See that all works, and end the load. By server and lane, what was accepted and did not reach all readers.

        :param may_be_repeated: by server, the numbers of its normal channel that may come twice.
        """
        await self.flows()
        await self.welcomes()
        await asyncio.gather(*(lane.end() for lanes in self.lanes for lane in lanes.values()))
        return [
            {
                name: lane.lost(may_be_repeated.get(place, ()) if name == "normal" else ())
                for name, lane in lanes.items()
            }
            for place, lanes in enumerate(self.lanes)
        ]

    async def welcomes(self) -> None:
        """Names that were not there before work as well, on every server."""
        for layer in (self.first, self.second):
            for channel, group, jobs in zip(
                await soon(self.site.channels(layer)), self.site.names("new"), self.site.names("new"), strict=True
            ):
                await soon(layer.group_add(group, channel))
                await soon(self.sender.group_send(group, {"n": "group"}))
                assert await take(layer, channel) == ["group"]
                await soon(self.sender.send(channel, {"n": "direct"}))
                assert await take(layer, channel) == ["direct"]
                await soon(self.sender.send(jobs, {"n": "normal"}))
                assert await take(layer, jobs) == ["normal"]

    def undisturbed(self, *places: int) -> None:
        """Nothing has ever been refused on the lanes of these servers."""
        for place in places:
            refused = {name: lane.refused for name, lane in self.lanes[place].items() if lane.refused}
            assert not refused, f"server {place} of {self.site.hosts}: {refused}"
