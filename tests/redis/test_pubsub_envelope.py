"""What is published, byte by byte; which of it is taken; and what time it is on the server."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_layers import LayerUnavailable
from channel_layers.redis import RedisPubSubChannelLayer, writers
from channel_layers.redis.connection import Connection, pack
from channel_layers.redis.pubsub import clock as clock_module
from channel_layers.redis.pubsub import shard as shard_module
from channel_layers.redis.pubsub.clock import ServerClock
from channel_layers.redis.pubsub.envelope import HEAD, entries, entry, entry_head
from channel_layers.redis.pubsub.requests import note
from channel_layers.redis.writers import Writers

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!", min_size=1, max_size=100)
UINT64 = st.integers(0, 2**64 - 1)


class TestEnvelope:
    @given(UINT64, UINT64, UINT64, st.lists(st.tuples(NAMES | st.just(""), st.binary(max_size=2_000))))
    def test_what_goes_in_comes_out(self, writer: int, number: int, ms: int, messages: list[tuple[str, bytes]]) -> None:
        data = HEAD.pack(writer, number, ms) + b"".join(entry(entry_head(name), payload) for name, payload in messages)
        assert HEAD.unpack_from(data) == (writer, number, ms)
        assert list(entries(data)) == messages

    @pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536, (1 << 24) + 1])
    def test_messages_of_every_size(self, size: int) -> None:
        payload = bytes(size)
        data = bytes(HEAD.size) + entry(entry_head("a!b"), payload) + entry(entry_head("c"), b"next")
        assert list(entries(data)) == [("a!b", payload), ("c", b"next")]

    def test_the_bytes(self) -> None:
        """Processes of two versions must understand each other: a change here is a new version of the names."""
        data = HEAD.pack(1, 2, 3) + entry(entry_head("p!a"), b"xy")
        assert data.hex(" ", 1) == (
            "00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 03 03 00 00 00 02 70 21 61 78 79"
        )

    def test_nothing(self) -> None:
        assert list(entries(bytes(HEAD.size))) == []

    @given(st.lists(st.text("abc.!-_ é", max_size=100), min_size=1))
    def test_a_request_is_an_entry_without_a_channel(self, words: list[str]) -> None:
        [(channel, payload)] = entries(bytes(HEAD.size) + note(*words))
        assert channel == ""
        assert payload.decode().split("\n") == words


class TestWriters:
    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 20))))
    def test_only_what_is_above_all_before(self, sent: list[tuple[int, int]]) -> None:
        taken, last = Writers(), dict.fromkeys(range(6), 0)
        for writer, number in sent:
            assert taken.takes(writer, number) == (number > last[writer])
            last[writer] = max(last[writer], number)

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 5)), max_size=200), st.integers(1, 6))
    def test_as_many_writers_as_it_must_are_remembered(self, sent: list[tuple[int, int]], limit: int) -> None:
        """Nothing of the last writers is taken twice; of those that it forgot, nobody is refused what is new."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writers, "_WRITERS", limit)
            taken, last, order = Writers(), dict[int, int](), list[int]()
            for writer, number in sent:
                is_known = writer in order[-limit:]
                takes = taken.takes(writer, number)
                if is_known:
                    assert takes == (number > last[writer])
                elif number > last.get(writer, 0):
                    assert takes
                last[writer] = max(last.get(writer, 0), number) if not takes else number
                if writer in order:
                    order.remove(writer)
                order.append(writer)

    def test_it_does_not_grow_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writers, "_WRITERS", 10)
        taken = Writers()
        for writer in range(1_000):
            assert taken.takes(writer, 1)
        assert len(taken._newer) + len(taken._older) <= 20


#: A question to the server: how far its clock is from this machine's, when it was asked, after how long it looked at
#: its clock, and how long the answer took.
QUESTIONS = st.lists(st.tuples(st.floats(0, 1_000), st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=20).map(
    sorted
)


class TestClock:
    @given(st.floats(-1e12, 1e12), QUESTIONS)
    def test_is_as_close_as_the_quickest_answer(self, ahead: float, questions: list[tuple[float, ...]]) -> None:
        clock = ServerClock()
        doubts = []
        for asked, way_there, way_back in questions:
            clock._note(asked, asked + way_there + way_back, 1_000 * (asked + way_there) + ahead)
            doubts.append((way_there + way_back) / 2)
            # A reckoning counts for a little less with each answer: clocks run apart.
            bound = min(doubt + 0.001 * (len(doubts) - number) for number, doubt in enumerate(doubts))
            assert abs(clock._ahead_ms - ahead) <= 1_000 * bound + 1

    @given(st.floats(-1e9, 1e9), st.floats(5_000, 1e9), st.booleans())
    def test_follows_a_clock_that_was_set(self, ahead: float, by: float, back: bool) -> None:
        """Also when the answer that tells of it is a slow one."""
        clock = ServerClock()
        clock._note(10, 10.001, 1_000 * 10 + ahead)
        by = -by if back else by
        clock._note(20, 21, 1_000 * 20.5 + ahead + by)
        assert abs(clock._ahead_ms - (ahead + by)) <= 501

    @pytest.mark.asyncio
    async def test_asks_a_server(self, ends: tuple[Connection, socket.socket]) -> None:
        connection, server = ends
        clock, told = ServerClock(), list[Any]()
        clock.ask(connection, told.append)
        assert clock.is_old_at > time.monotonic() + clock_module._ASK_AGAIN / 2
        await _answer(connection, server, b"*2\r\n$10\r\n1700000000\r\n$6\r\n250000\r\n")
        assert told == [[b"1700000000", b"250000"]]
        assert 1_700_000_000_250 <= clock.now_ms() < 1_700_000_060_000

    @pytest.mark.asyncio
    async def test_an_error_is_no_time(self, ends: tuple[Connection, socket.socket]) -> None:
        connection, server = ends
        clock, told = ServerClock(), list[Any]()
        before = clock.now_ms()
        clock.ask(connection, told.append)
        await _answer(connection, server, b"-NOPERM no\r\n")
        assert isinstance(told[0], hiredis.ReplyError)
        assert clock.now_ms() - before < 60_000

    @pytest.mark.asyncio
    async def test_a_connection_on_which_nobody_tells_is_not_used(
        self, ends: tuple[Connection, socket.socket], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What went out with a time that was made up would count as expired wherever the right one is known."""
        monkeypatch.setattr(shard_module, "_PATIENCE", 0.05)
        shard = RedisPubSubChannelLayer()._client.shards[0]
        for prepare in (shard._prepare_near, shard._prepare_far):
            with pytest.raises(LayerUnavailable, match="does not tell the time"):
                await prepare(ends[0])


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    connection = Connection(ours, "here", 5, lambda *_: None)
    with theirs:
        yield connection, theirs
        connection.close()


async def _answer(connection: Connection, server: socket.socket, reply: bytes) -> None:
    connection.attach(asyncio.get_running_loop())
    connection.flush()
    assert server.recv(100) == pack("TIME")
    server.sendall(reply)
    for _ in range(10):
        await asyncio.sleep(0)
    connection.detach()
