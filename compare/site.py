"""Where a scenario takes place: fresh servers, layers that lead to them, and other processes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from benchmarks.contenders import Layer
from benchmarks.line import Line
from benchmarks.partner import partner
from compare.layers import Compared, Way
from compare.servers import RedisServer, SentinelTopology, TcpProxy, new_sentinels, new_server

PARTNER_SECONDS = 120.0
CLOSE_SECONDS = 5.0


class Site:
    """Of one scenario and one layer; an asynchronous context manager that takes everything down again."""

    def __init__(self, contender: Compared) -> None:
        self.contender = contender
        self.servers: list[RedisServer] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Site:
        self.add_servers(self.contender.servers)
        if "prefix" not in self.contender.cannot and not self.servers and self.contender.shared:
            # Without a server of its own, what is fresh is the prefix.
            config = {**self.contender.config, "prefix": f"compare-{uuid.uuid4().hex[:8]}"}
            self.contender = replace(self.contender, config=config)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def server(self) -> RedisServer | None:
        """The first, or none: the layer needs none."""
        return self.servers[0] if self.servers else None

    @property
    def way(self) -> Way:
        return Way(tuple(server.address for server in self.servers))

    def add_servers(self, count: int) -> None:
        for _ in range(count):
            self.servers.append(self._stack.enter_context(new_server()))

    def at_least(self, count: int) -> None:
        """That many servers, if the layer has any."""
        if self.servers:
            self.add_servers(count - len(self.servers))

    def sentinels(self) -> SentinelTopology:
        return self._stack.enter_context(new_sentinels())

    def slow(self, delay: float) -> Way:
        """The way through a network that takes ``delay`` seconds in each direction."""
        proxies = [self._stack.enter_context(TcpProxy(*server.address, delay)) for server in self.servers]
        return Way(tuple(proxy.address for proxy in proxies))

    def bound(self, way: Way | None = None, *, plain: bool = False, **options: Any) -> Compared:
        """The contender with everything that its layers need; this travels to other processes.

        Of the options, it gets those that it has: a scenario whose matter they are says that it needs them.
        """
        contender = self.contender.leading_to(way or self.way, plain=plain)
        known = {name: value for name, value in options.items() if name not in contender.cannot}
        return replace(contender, config={**contender.config, **known})

    def layer(self, way: Way | None = None, *, plain: bool = False, **options: Any) -> Layer:
        """A new layer object, closed at the end. ``plain``: as in the quick start of its documentation."""
        contender = self.bound(way, plain=plain, **options)
        layer = contender.make()
        self._stack.push_async_callback(close, contender, layer)
        return layer

    def pair(self, **options: Any) -> tuple[Layer, Layer]:
        """Sender and receiver: two objects, where two reach each other."""
        sender = self.layer(**options)
        return sender, self.layer(**options) if self.contender.shared else sender

    @asynccontextmanager
    async def partner(self, work: Callable[..., Awaitable[None]], *arguments: object) -> AsyncIterator[Line]:
        """``work(line, *arguments)`` in a process of its own."""
        async with partner(work, *arguments, deadline=PARTNER_SECONDS) as line:
            yield line


async def close(contender: Compared, layer: Layer) -> None:
    """How it ends is not what is asked, and some end never after an outage."""
    with suppress(Exception):
        await asyncio.wait_for(contender.close(layer), CLOSE_SECONDS)
