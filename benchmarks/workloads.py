"""What is measured inside one process.

Every workload checks what it received, so a layer that loses or repeats messages cannot win. Messages are made before
the clock runs and compared whole; both cost a layer the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.contenders import Layer
from benchmarks.errors import WrongResultError
from benchmarks.stopwatch import Stopwatch

Message = dict[str, Any]
Workload = Callable[[Layer, Layer, Stopwatch], Awaitable[None]]

TEXT = "0123456789" * 10


def messages(count: int) -> list[Message]:
    return [{"type": "chat.message", "text": TEXT, "n": n} for n in range(count)]


async def send_all(layer: Layer, channel: str, sent: list[Message]) -> None:
    for message in sent:
        await layer.send(channel, message)


async def receive_all(layer: Layer, channel: str, sent: list[Message]) -> None:
    for message in sent:
        expect(message, await layer.receive(channel))


def expect(sent: Message | None, received: Message) -> None:
    if received != sent:
        raise WrongResultError(f"expected {sent or 'no more of them'}, received {received}")


async def pingpong(sender: Layer, receiver: Layer, watch: Stopwatch, *, trips: int = 1_000) -> None:
    """Send, then receive, on one channel."""
    channel = await receiver.new_channel()
    sent = messages(trips)
    while watch.more():
        with watch.batch(trips):
            for message in sent:
                await sender.send(channel, message)
                expect(message, await receiver.receive(channel))


async def conc100(
    sender: Layer, receiver: Layer, watch: Stopwatch, *, channel_count: int = 100, per_channel: int = 100
) -> None:
    """100 senders and 100 receivers at once, one of each per channel."""
    channels = [await receiver.new_channel() for _ in range(channel_count)]
    sent = messages(per_channel)
    while watch.more():
        with watch.batch(channel_count * per_channel):
            await asyncio.gather(
                *(receive_all(receiver, channel, sent) for channel in channels),
                *(send_all(sender, channel, sent) for channel in channels),
            )


async def fan1000(sender: Layer, receiver: Layer, watch: Stopwatch, *, members: int = 1_000, sends: int = 20) -> None:
    """20 messages to a group of 1,000 channels, each with its own waiting receiver; an operation is one delivery."""
    channels = [await receiver.new_channel() for _ in range(members)]
    for channel in channels:
        await receiver.group_add("room", channel)
    sent = messages(sends)
    while watch.more():
        receivers = [asyncio.create_task(receive_all(receiver, channel, sent)) for channel in channels]
        await asyncio.sleep(0)  # every receiver runs up to its first wait
        with watch.batch(members * sends):
            for message in sent:
                await sender.group_send("room", message)
            await asyncio.gather(*receivers)


async def idle10k(
    sender: Layer, receiver: Layer, watch: Stopwatch, *, idle: int = 10_000, trips: int = 100, looks: int = 10
) -> None:
    """Round trips on one channel while 10,000 others hold an unread message."""
    unread = [(await receiver.new_channel(), message) for message in messages(idle)]
    for channel, message in unread:
        await sender.send(channel, message)
    await pingpong(sender, receiver, watch, trips=trips)
    # Some of them are enough: at the peer's speed all of them would take half a minute.
    for channel, message in unread[:: idle // looks]:
        expect(message, await receiver.receive(channel))


async def idle1k(
    sender: Layer, receiver: Layer, watch: Stopwatch, *, idle: int = 1_000, trips: int = 100, looks: int = 10
) -> None:
    """Round trips on one channel while 1,000 others hold an unread message."""
    await idle10k(sender, receiver, watch, idle=idle, trips=trips, looks=looks)


async def idle100k(
    sender: Layer, receiver: Layer, watch: Stopwatch, *, idle: int = 100_000, trips: int = 100, looks: int = 10
) -> None:
    """Round trips on one channel while 100,000 others hold an unread message."""
    await idle10k(sender, receiver, watch, idle=idle, trips=trips, looks=looks)


async def join(sender: Layer, receiver: Layer, watch: Stopwatch, *, joins: int = 100) -> None:
    """new_channel and group_add: what every connection does first."""
    sent = messages(2)  # a second one shows whether the first came once
    while watch.more():
        channels = []
        with watch.batch(joins):
            for _ in range(joins):
                channel = await receiver.new_channel()
                await receiver.group_add("room", channel)
                channels.append(channel)
        for message in sent:
            await sender.group_send("room", message)
        for channel in channels:
            await receive_all(receiver, channel, sent)
            await receiver.group_discard("room", channel)


INSIDE: dict[str, Workload] = {
    "pingpong": pingpong,
    "conc100": conc100,
    "fan1000": fan1000,
    "idle1k": idle1k,
    "idle10k": idle10k,
    "idle100k": idle100k,
    "join": join,
}
