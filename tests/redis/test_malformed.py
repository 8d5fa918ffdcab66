"""What somebody else writes under the names of a layer: it is dropped and counted, and stops nothing."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pubsub_sites import PubSubSite
from redis_servers import DEADLINE, RedisServer
from sites import Site

from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channel_layers.redis.pubsub.envelope import HEAD, entry, entry_head

#: What a stranger may write where a name is expected: also what only looks like one.
WORDS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"!", b"@", b"!flush", b"@room", b"specific.x!y", b"12", b"-1", b"\xff", b"1:2", b"join"]),
)


class Watched:
    """A layer that should go on as if nothing had happened, and the loop it lives in."""

    def __init__(self, layer: RedisChannelLayer | RedisPubSubChannelLayer) -> None:
        self.loop = asyncio.new_event_loop()
        self.layer: Any = layer
        self.channel = self.run(layer.new_channel())
        self.run(layer.group_add("room", self.channel))
        self.count = 0

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, DEADLINE))

    def goes_on(self, *channels: str) -> None:
        """What is sent now arrives; before it may come what a stranger has written well enough."""
        for channel in (self.channel, *channels):
            self.count += 1
            self.run(self.layer.send(channel, {"count": self.count}))
            while True:
                with contextlib.suppress(ValueError):  # bytes that are no message, to a channel that is one
                    if self.run(self.layer.receive(channel)) == {"count": self.count}:
                        break
        counts = self.layer.statistics()
        assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread

    def close(self) -> None:
        self.run(self.layer.close())
        self.loop.close()


@pytest.fixture
def queues(redis_server: RedisServer) -> Iterator[tuple[Watched, Site]]:
    site = Site(redis_server)
    watched = Watched(site.layer())
    yield watched, site
    watched.close()
    site.close()


@pytest.fixture
def pubsub(redis_server: RedisServer) -> Iterator[tuple[Watched, PubSubSite]]:
    site = PubSubSite(redis_server)
    watched = Watched(site.layer())
    yield watched, site
    watched.close()
    site.close()


class TestQueues:
    def test_entries_of_a_mailbox(self, queues: tuple[Watched, Site]) -> None:
        watched, site = queues
        name = f"{site.prefix}:cl1:mailbox:{watched.layer.client_prefix}"
        to = st.one_of(WORDS, st.just(watched.channel.encode()))

        @settings(max_examples=60, deadline=None)
        @given(st.lists(st.one_of(st.tuples(WORDS, WORDS), st.tuples(to, WORDS, WORDS, WORDS)), min_size=1, max_size=5))
        def write(entries: list[tuple[bytes, ...]]) -> None:
            for fields in entries:
                site.server.client().execute_command("XADD", name, "*", *fields)
            watched.goes_on()

        write()
        assert watched.layer.statistics().dropped["malformed"] > 0

    def test_entries_of_control(self, queues: tuple[Watched, Site]) -> None:
        watched, site = queues
        name = f"{site.prefix}:cl1:control:{watched.layer.client_prefix}"

        @settings(max_examples=40, deadline=None)
        @given(
            st.lists(st.one_of(st.tuples(WORDS, WORDS), st.tuples(WORDS, WORDS, WORDS, WORDS)), min_size=1, max_size=5)
        )
        def write(entries: list[tuple[bytes, ...]]) -> None:
            for fields in entries:
                site.server.client().execute_command("XADD", name, "*", *fields)
            watched.goes_on()

        write()

    def test_a_change_that_only_a_later_version_knows(self, queues: tuple[Watched, Site]) -> None:
        watched, site = queues
        name = f"{site.prefix}:cl1:control:{watched.layer.client_prefix}"
        site.server.client().execute_command("XADD", name, "*", "pause", "room", watched.channel, "0-0")
        watched.goes_on()
        watched.run(watched.layer.group_send("room", {"still": "a member"}))
        assert watched.run(watched.layer.receive(watched.channel)) == {"still": "a member"}
        assert watched.layer.statistics().dropped == {"malformed": 1}

    def test_elements_of_a_normal_channel(self, queues: tuple[Watched, Site]) -> None:
        watched, site = queues

        @settings(max_examples=40, deadline=None)
        @given(st.lists(WORDS, min_size=1, max_size=5))
        def write(elements: list[bytes]) -> None:
            site.server.client().rpush(f"{site.prefix}:cl1:queue:jobs", *elements)
            watched.goes_on("jobs")

        write()
        assert watched.layer.statistics().dropped["malformed"] > 0


class TestPubSub:
    @pytest.mark.parametrize("kind", ["mailbox", "everyone", "group"])
    def test_what_is_published(self, pubsub: tuple[Watched, PubSubSite], kind: str) -> None:
        watched, site = pubsub
        name = {
            "mailbox": site.keys.mailbox(watched.layer.client_prefix),
            "everyone": site.keys.everyone,
            "group": site.keys.group("room"),
        }[kind]
        number = iter(range(1, 1_000_000))

        def enveloped(content: bytes) -> bytes:
            return HEAD.pack(1, next(number), 2**50) + content

        entries = st.builds(lambda payload: entry(entry_head(""), payload), WORDS)
        requests = st.builds(lambda words: entry(entry_head(""), b"\n".join(words)), st.lists(WORDS, max_size=6))
        contents = st.one_of(WORDS, entries, requests, st.builds(struct.Struct(">BI").pack, st.just(9), st.just(2**31)))

        @settings(max_examples=60, deadline=None)
        @given(st.lists(st.one_of(WORDS, st.builds(enveloped, contents)), min_size=1, max_size=5))
        def publish(messages: list[bytes]) -> None:
            for message in messages:
                site.server.client().publish(name, message)
            watched.goes_on()

        publish()
        if kind != "everyone":  # to it also belong flushes, which empty the statistics of nobody
            assert watched.layer.statistics().dropped["malformed"] > 0
