"""What every part of the suite stands on: making layers, deadlines, skipping what is not claimed."""

from __future__ import annotations

import asyncio
import functools
import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, ClassVar, TypeVar, cast

import pytest

from .expect import expect_equal, fail, shown
from .features import Features
from .running import within

T = TypeVar("T")
Test = TypeVar("Test", bound=Callable[..., Coroutine[Any, Any, None]])

#: A whole test may take so many times the deadline of a single step.
_WHOLE_TEST = 8


class LayerTests:
    """The base of all parts. Names that tests use are unique, so that no test sees what another left behind."""

    features: ClassVar[Features] = Features()
    _extensions: ClassVar[list[str] | None] = None
    _tasks: list[asyncio.Task[Any]]

    def make_layer(self, **config: Any) -> Any:
        """Return a new layer with these options on top of the author's own. May be ``async def``.

        The options that tests give are ``capacity``, ``channel_capacity``, ``expiry`` and ``group_expiry``, none of
        them if the features they belong to are denied.
        """
        raise NotImplementedError(f"{type(self).__name__} must define make_layer(self, **config): a new layer")

    # Layers

    @asynccontextmanager
    async def layers(self, **config: Any) -> AsyncIterator[tuple[Any, Any]]:
        """A sender and a receiver that share channels: two objects where the layer can, otherwise one."""
        async with self.layer(**config) as sender:
            if not self.features.shares_between_instances:
                yield sender, sender
                return
            async with self.layer(**config) as receiver:
                yield sender, receiver

    @asynccontextmanager
    async def layer(self, **config: Any) -> AsyncIterator[Any]:
        """One layer, which is closed at the end if it can be.

        It is not flushed: other processes, and other runs of the suite on the same server, may be at work.
        """
        layer = await self.build(**config)
        try:
            yield layer
        finally:
            if hasattr(layer, "close"):
                # A close() that fails has a test of its own; here its failure would hide the one that is to be seen.
                with suppress(Exception):
                    await self.within(layer.close(), "the end of close()")

    async def build(self, **config: Any) -> Any:
        """What ``make_layer`` makes, awaited if need be."""
        layer = self.make_layer(**config)
        return await layer if inspect.isawaitable(layer) else layer

    async def why_not(self, claim: str) -> str | None:
        """None if the layer makes a claim, otherwise the reason why it does not."""
        if claim in ("groups", "flush"):
            kind = type(self)
            if kind._extensions is None:
                async with self.layer() as layer:
                    kind._extensions = list(getattr(layer, "extensions", []))
        return self.features.why_not(claim, type(self)._extensions or [])

    @property
    def roomy(self) -> dict[str, Any]:
        """Options for a test that leaves more messages unread than a layer holds by default."""
        return {} if self.features.capacity is None else {"capacity": 10_000}

    def full_error(self, layer: Any) -> type[Exception]:
        """What a send to a full channel raises."""
        return _error(layer, "ChannelFull")

    def too_large_error(self, layer: Any) -> type[Exception]:
        """What a send of too large a message raises."""
        return _error(layer, "MessageTooLarge")

    # Names

    def name(self, label: str = "test") -> str:
        """A legal name, of a normal channel or a group, that nobody used before."""
        return f"{label}.{secrets.token_hex(8)}"

    # Waiting

    async def within(self, awaitable: Awaitable[T], what: str) -> T:
        """Await what must happen within the deadline; ``what`` says it."""
        return await within(self.features.deadline, awaitable, what)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task, which is cancelled at the end of the test if it still runs then."""
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    async def turns(self, count: int = 5) -> None:
        """Let the event loop turn: what can get ahead without the outside world does. No test depends on how far."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def eventually(self, holds: Callable[[], Any], what: str) -> None:
        """Ask again and again until the answer is true; fail with ``what`` after the deadline."""
        end = time.monotonic() + self.features.deadline
        while True:
            answer = holds()
            if await answer if inspect.isawaitable(answer) else answer:
                return
            if time.monotonic() > end:
                raise fail(f"expected within {self.features.deadline:g} s: {what}")
            await asyncio.sleep(0.005)

    async def time_passes(self, seconds: float) -> None:
        """Wait until so many seconds have passed, where only a clock can tell: that something expires, or is idle."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:  # noqa: ASYNC110 - a loop, since a timer may be early
            await asyncio.sleep(left)

    async def have_arrived(self, layer: Any, count: int) -> None:
        """Wait until so many messages have arrived at a layer that counts them; others are taken at their word."""
        if self.features.statistics:
            await self.eventually(lambda: layer.statistics().arrived >= count, f"{count} messages arrive")

    # Receiving

    async def take(self, layer: Any, channel: str, rule: str = "a message arrives") -> dict[str, Any]:
        """The next message of a channel, within the deadline."""
        return cast("dict[str, Any]", await self.within(layer.receive(channel), f"{rule} (receive({channel!r}))"))

    async def take_many(self, layer: Any, channel: str, count: int, rule: str) -> list[dict[str, Any]]:
        """The next ``count`` messages of a channel; if they do not all come, the failure says which did."""
        got: list[dict[str, Any]] = []

        async def collect() -> None:
            while len(got) < count:
                got.append(await layer.receive(channel))

        try:
            await self.within(collect(), rule)
        except AssertionError as error:
            raise fail(f"{error}; of {count} messages, {len(got)} came: {shown(got)}") from None
        return got

    async def expect_next(self, layer: Any, channel: str, message: dict[str, Any], rule: str) -> None:
        """Fail unless this very message is the next."""
        expect_equal(await self.take(layer, channel, rule), message, rule)

    async def expect_nothing(self, sender: Any, receiver: Any, channel: str, rule: str) -> None:
        """Fail unless the channel is empty: what is sent to it now is what comes next."""
        sentinel = {"type": "sentinel", "mark": secrets.token_hex(8)}
        await sender.send(channel, sentinel)
        got = await self.take(receiver, channel, f"{rule}: a message sent afterwards arrives")
        if got != sentinel:
            raise fail(f"{rule}: expected nothing on {channel!r}, got {shown(got)}")


def layer_test(*claims: str) -> Callable[[Test], Test]:
    """Mark a test: asynchronous, with a deadline as a whole, and skipped unless the layer makes all these claims.

    :param claims: names of :class:`Features` that must be true, or ``"name=value"``.
    """

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        async def run(self: LayerTests, *args: Any, **options: Any) -> None:
            for claim in claims:
                reason = await self.why_not(claim)
                if reason:
                    pytest.skip(reason)
            self._tasks = []
            limit = _WHOLE_TEST * self.features.deadline
            try:
                await within(limit, test(self, *args, **options), "the end of the test")
            finally:
                for task in self._tasks:
                    task.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=2)
                for task in self._tasks:
                    if task.done() and not task.cancelled():
                        task.exception()

        return cast("Test", pytest.mark.asyncio(run))

    return decorate


def _error(layer: Any, name: str) -> type[Exception]:
    """An exception of a layer; for one that lacks the attribute, which has a test of its own, that of Channels."""
    try:
        from channels import exceptions
    except ImportError:
        from .. import exceptions
    return cast("type[Exception]", getattr(layer, name, getattr(exceptions, name)))


async def outcome(task: asyncio.Task[T]) -> T | None:
    """What a task returns, or None if it ends by being cancelled."""
    await asyncio.wait({task})
    return None if task.cancelled() else task.result()
