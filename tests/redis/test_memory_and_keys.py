"""What a Redis layer keeps, and where: nothing for ever, no more than its capacity, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from redis_servers import SHORT_LEASE, RedisServer
from sites import DEADLINE, Site, eventually, use

from channel_layers import ChannelFull
from channel_layers.conformance.running import Child, within
from channel_layers.redis import RedisChannelLayer

MIB = 1 << 20


# Every key ends by itself


class Watch:
    """Looks again and again whether a key of a site has no time to live."""

    def __init__(self, site: Site) -> None:
        self.endless: set[str] = set()
        self.kinds: set[str] = set()
        self._site = site
        self._client = site.server.new_client()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._client.close()

    def look(self) -> None:
        for key in self._client.scan_iter(f"{self._site.prefix}:*", count=10_000):
            self.kinds.add(key.decode().split(":")[2])
            if self._client.pttl(key) == -1:
                self.endless.add(key.decode())

    def _run(self) -> None:
        while not self._ended.is_set():
            self.look()


async def use_everything(one: RedisChannelLayer, other: RedisChannelLayer, never_read: str) -> None:
    """All kinds of keys, and all ways in which they come and go."""
    for layer in (one, other):
        await use(layer)
    group, mine, theirs = "room", await one.new_channel(), await other.new_channel()
    for name in (mine, theirs, "jobs", never_read):
        await one.group_add(group, name)
        await other.group_add(f"{group}.2", name)
    for n in range(10):  # more than a channel holds
        await one.group_send(group, {"n": n})
        for name in (mine, theirs, "jobs", "others", never_read):
            with contextlib.suppress(ChannelFull):
                await other.send(name, {"n": n})
    for layer, name in ((one, mine), (other, theirs), (one, "jobs")):
        await within(DEADLINE, layer.receive(name), "a message arrives")
    waiting = [asyncio.create_task(layer.receive(f"jobs.{n}")) for n in range(5) for layer in (one, other)]
    for n in range(5):
        await one.send(f"jobs.{n}", {"n": n})
    await asyncio.sleep(0)
    for one_of_them in waiting:  # some of which give back what they had
        one_of_them.cancel()
    await asyncio.wait(waiting)
    for name in (theirs, "jobs", never_read):
        await one.group_discard(group, name)
        await one.discard_channel(name)


@pytest.mark.asyncio
async def test_every_key_has_a_time_to_live(site: Site) -> None:
    """At any moment; so what nobody needs any more is gone some time, however the processes end."""
    options = {"capacity": 3, "lease": SHORT_LEASE, "expiry": 5, "group_expiry": 20}
    one, other = site.layer(**options), site.layer(**options)
    never_read = await site.layer(**options).new_channel()
    with Watch(site) as watch:
        for _ in range(3):
            await use_everything(one, other, never_read)
            await one.flush()
            await use_everything(other, one, never_read)
            await other.close()
        await use_everything(one, other, never_read)

        async def work(child: Child) -> None:
            await use_everything(one, other, never_read)
            child.tell("it may be killed now")
            while True:
                await use_everything(one, other, never_read)

        child = Child(work, DEADLINE)
        await child.hear()
        child.end()
        watch.look()
    assert watch.endless == set()
    # "acknowledged" and "early" come and go faster than one may look.
    assert watch.kinds >= {"mailbox", "unread", "control", "queue", "group", "groups", "epoch"}
    client = site.server.client()
    # Nothing outlives the longest of the times in the options, but the number of the latest flush.
    longest = {key: client.pttl(key) for key in site.held() if not key.endswith(":epoch")}
    assert max(longest.values()) <= 20_000, longest


@pytest.mark.asyncio
async def test_what_a_killed_process_leaves(site: Site) -> None:
    """Its mailbox is gone with its lease, and then it is on no list; its living fellow members notice nothing."""
    layer = site.layer(lease=SHORT_LEASE)
    channel = await layer.new_channel()
    await layer.group_add("room", channel)

    async def work(child: Child) -> None:
        theirs = await layer.new_channel()
        await layer.group_add("room", theirs)
        await layer.group_add("empty", theirs)
        child.tell((theirs, layer.client_prefix))
        await asyncio.Event().wait()

    child = Child(work, DEADLINE)
    theirs, client_id = await child.hear()
    child.end()
    client = site.server.client()
    await layer.send(theirs, {"n": 1})
    await eventually(lambda: not site.held(f"mailbox:{client_id}"), "its mailbox is gone")

    async def until_listed(group: str, mailboxes: list[bytes]) -> None:
        """A listing that is younger than a lease stays: it may have been made on a slow machine, long after that."""
        while client.hkeys(f"{site.prefix}:cl1:group:{group}") != mailboxes:
            await layer.group_send(group, {"to": group})
            await asyncio.sleep(0.05)

    await within(DEADLINE, until_listed("room", [f"@{layer.client_prefix}".encode()]), "only the living is listed")
    await within(DEADLINE, until_listed("empty", []), "nobody is listed")
    assert await within(DEADLINE, layer.receive(channel), "the living member gets it") == {"to": "room"}
    assert all(client.pttl(key) > 0 for key in site.held())


# No more than the capacity


def resident_bytes(pid: int) -> int:
    """The memory of a process."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except FileNotFoundError:
        pytest.skip("this system does not tell")
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


MESSAGES = 200_000
AT_ONCE = 100


async def flood(layer: RedisChannelLayer, channel: str, group: str, count: int) -> None:
    """Send so many messages, half of them to the group, whether they are taken or not."""

    async def send(number: int) -> None:
        for n in range(number):
            if n % 2:
                await layer.group_send(group, {"text": 1000 * "x"})
                continue
            with contextlib.suppress(ChannelFull):
                await layer.send(channel, {"text": 1000 * "x"})

    await asyncio.gather(*(send(count // AT_ONCE) for _ in range(AT_ONCE)))


@pytest.mark.asyncio
@pytest.mark.parametrize("reader", ["blocked", "never receives"])
async def test_a_reader_that_stalls(own_site: Site, reader: str) -> None:
    """However many messages come, server and processes hold no more than the capacity of channel and mailbox."""
    capacity, mailbox_capacity, size = 100, 1_000, 1_100

    async def work(child: Child) -> Any:
        layer = own_site.layer(capacity=capacity, mailbox_capacity=mailbox_capacity)
        channel = await layer.new_channel()
        await use(layer)
        before = layer.statistics().arrived
        await layer.group_add("room", channel)
        child.tell(channel)
        # One way holds up the loop, the other does not.
        expected = child._hear() if reader == "blocked" else await child.hear()
        while (counts := layer.statistics()).arrived < before + expected or counts.unread:
            await (layer.receive(channel) if counts.unread else asyncio.sleep(0))
        return counts.arrived - before, counts.dropped.get("full", 0)

    child = Child(work, 4 * DEADLINE)
    try:
        channel = await child.hear()
        sender = own_site.layer(capacity=capacity, mailbox_capacity=mailbox_capacity)
        await use(sender)
        before = sender.statistics()
        await flood(sender, channel, "room", 2_000)  # first, what everybody needs to be at work
        info = own_site.server.client().info
        memory, processes = info("memory")["used_memory"], [resident_bytes(pid) for pid in (child.pid, os.getpid())]
        await flood(sender, channel, "room", MESSAGES)
        # Twice, for what the server and the interpreter need to keep a message; and what both need to be at work.
        assert info("memory")["used_memory_peak"] - memory < 2 * mailbox_capacity * size + 4 * MIB
        for pid, held in zip((child.pid, os.getpid()), processes, strict=True):
            assert resident_bytes(pid) - held < 2 * (capacity + mailbox_capacity) * size + 16 * MIB
        after = sender.statistics()
        group_sends = (MESSAGES + 2_000) // 2
        direct = group_sends - after.refused["full"]
        missed = after.arrived - before.arrived  # group messages for which the mailbox had no room
        assert after.sent - before.sent == 2 * group_sends
        assert 0 < direct <= capacity
        assert missed > 0 or reader != "blocked"
        child.tell(direct + group_sends - missed)
        arrived, dropped = await child.hear()
        assert arrived == direct + group_sends - missed
        assert dropped > 0
    finally:
        child.end()


@pytest.mark.asyncio
@pytest.mark.parametrize("overflow", ["drop_new", "drop_old"])
async def test_who_is_refused_hears_which_bound_it_was(site: Site, overflow: str) -> None:
    options = {"capacity": 2, "mailbox_capacity": 3, "overflow": overflow}
    layer, sender = site.layer(**options), site.layer(**options)
    one, other = (layer._new_name("specific", layer._client.id) for _ in range(2))  # of a process that does not read
    for _ in range(2):
        await sender.send(one, {})
    if overflow == "drop_new":
        with pytest.raises(ChannelFull, match="holds 2 unread messages"):
            await sender.send(one, {})
    await sender.send(other, {})
    with pytest.raises(ChannelFull, match=r"not read 3 messages \(mailbox_capacity\)") as caught:
        await sender.send(other, {})
    assert caught.value.capacity is None


@pytest.mark.asyncio
async def test_statistics_balance_under_load(site: Site) -> None:
    """What was sent has arrived or was refused; what has arrived was delivered or dropped, or is unread."""
    layers = [site.layer(capacity=5) for _ in range(3)]
    channels = [await layer.new_channel() for layer in layers]
    for channel in channels:
        await layers[0].group_add("room", channel)
    rounds, stop = 300, asyncio.Event()

    async def send(layer: RedisChannelLayer) -> None:
        for n in range(rounds):
            for channel in (*channels, "jobs"):
                try:
                    await layer.send(channel, {"n": n})
                except ChannelFull:
                    await asyncio.sleep(0)
            if n % 3 == 0:
                await layer.group_send("room", {"n": n})

    async def receive(layer: RedisChannelLayer, channel: str) -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(layer.receive(channel), 0.002)

    def balanced() -> bool:
        for layer in layers:
            counts = layer.statistics()
            assert counts.sent == counts.accepted + sum(counts.refused.values())
            assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread
        return True

    receivers = [
        asyncio.create_task(receive(layer, name))
        for layer, channel in zip(layers, channels, strict=True)
        for name in (channel, "jobs")
    ]
    senders = [asyncio.create_task(send(layer)) for layer in layers]
    while not all(sender.done() for sender in senders):
        assert balanced()
        await asyncio.sleep(0.001)
    await asyncio.gather(*senders)
    waiting_in_redis = site.server.client().llen(f"{site.prefix}:cl1:queue:jobs")
    stop.set()
    await within(DEADLINE, asyncio.gather(*receivers), "the receivers end")
    group_sends = 3 * len(range(0, rounds, 3))
    direct = sum(layer.statistics().accepted for layer in layers) - group_sends

    def total(name: str) -> int:
        return sum(getattr(layer.statistics(), name) for layer in layers)

    def in_redis() -> int:
        return int(site.server.client().llen(f"{site.prefix}:cl1:queue:jobs"))

    assert waiting_in_redis <= 5
    await eventually(lambda: total("arrived") + in_redis() == direct + 3 * group_sends, "all has arrived, once")
    assert balanced()
    assert total("delivered") > 0
    assert total("sent") == 3 * rounds * 4 + group_sends


# Nobody else's


@pytest.mark.asyncio
async def test_layers_that_differ_in_prefix_or_database(own_redis_server: RedisServer) -> None:
    """None gets what another sends, and the flush of one leaves the others as they are."""
    spots = [("a", 0), ("a.b", 0), ("a-b", 0), ("A", 0), ("a", 1), ("b", 1)]
    layers = [RedisChannelLayer([{"address": own_redis_server.url, "db": db}], prefix=prefix) for prefix, db in spots]
    try:
        own = [await layer.new_channel() for layer in layers]
        for layer, channel in zip(layers, own, strict=True):
            await layer.group_add("room", channel)
            await layer.group_add("room", "jobs")
        for mark, layer in enumerate(layers):
            await layer.group_send("room", {"group": mark})
            for channel in ("jobs", *own):  # also to channels of others
                await layer.send(channel, {"direct": mark})
        flushed = 0
        await layers[flushed].flush()
        for mark, (layer, channel) in enumerate(zip(layers, own, strict=True)):
            if mark != flushed:
                for name in ("jobs", channel):
                    for message in ({"group": mark}, {"direct": mark}):
                        assert await within(DEADLINE, layer.receive(name), "what is its own arrives") == message
            await layer.group_send("room", {"group": "again"})
            for name in ("jobs", channel):
                await layer.send(name, {"last": mark})
                if mark != flushed:
                    again = await within(DEADLINE, layer.receive(name), "a membership outlives the flush of another")
                    assert again == {"group": "again"}
                assert await within(DEADLINE, layer.receive(name), "nothing else arrives") == {"last": mark}
    finally:
        for layer in layers:
            await layer.close()
