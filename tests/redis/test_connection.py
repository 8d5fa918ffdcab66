"""One connection: pipelining, order, moving from loop to loop, and its end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hiredis
import pytest
from numbered import until
from redis_servers import DEADLINE, SEND_TIMEOUT, RedisServer

from channel_layers.redis.connection import Connection, pack
from channel_layers.redis.errors import RedisUnavailable
from channel_layers.redis.server import Server


class Spy:
    """A socket that counts writes."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.writes = 0

    def send(self, data: Any) -> int:
        self.writes += 1
        sent: int = self._sock.send(data)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Opened:
    """A connection with what it reports."""

    def __init__(self, server: RedisServer, patience: float = 10) -> None:
        host, port = server.address
        self.sock = Spy(Server("it", {"host": host, "port": port}).open(5))
        self.lost: list[Exception] = []
        self.connection = Connection(self.sock, "it", patience, lambda _, error: self.lost.append(error))  # type: ignore[arg-type]


@pytest.fixture
def opened(redis_server: RedisServer) -> Iterator[Opened]:
    it = Opened(redis_server)
    yield it
    it.connection.close()


@pytest.mark.asyncio
async def test_what_is_asked_in_one_turn_goes_out_in_one_write(opened: Opened) -> None:
    connection = opened.connection
    connection.attach(asyncio.get_running_loop())
    replies = await asyncio.gather(*(connection.answer("ECHO", str(n)) for n in range(500)))
    assert replies == [str(n).encode() for n in range(500)]
    assert opened.sock.writes == 1


@pytest.mark.asyncio
async def test_more_than_the_socket_takes_at_once(opened: Opened) -> None:
    connection = opened.connection
    connection.attach(asyncio.get_running_loop())
    large = "x" * 8_000_000
    replies = await asyncio.gather(*(connection.answer("ECHO", large + str(n)) for n in range(6)))
    assert [reply[-1:] for reply in replies] == [str(n).encode() for n in range(6)]
    assert {len(reply) for reply in replies} == {len(large) + 1}


@pytest.mark.asyncio
async def test_an_error_reply_is_one_of_many(opened: Opened) -> None:
    connection = opened.connection
    connection.attach(asyncio.get_running_loop())
    first, wrong, last = await asyncio.gather(
        connection.answer("ECHO", "1"),
        connection.answer("NONSENSE"),
        connection.answer("ECHO", "2"),
        return_exceptions=True,
    )
    assert (first, last) == (b"1", b"2")
    assert "unknown command" in str(wrong)
    assert not opened.lost


@pytest.mark.asyncio
async def test_it_moves_to_another_loop_with_what_is_unanswered(opened: Opened) -> None:
    connection, here = opened.connection, asyncio.get_running_loop()
    connection.attach(here)
    popped: list[Any] = []
    connection.ask(pack("BLPOP", "moving", 10), popped.append)
    connection.flush()
    connection.detach()

    other = asyncio.new_event_loop()
    thread = threading.Thread(target=other.run_forever)
    thread.start()
    got: list[Any] = []
    try:
        heard = threading.Event()

        def take_over() -> None:
            connection.attach(other)
            connection.ask(pack("ECHO", "there"), lambda answer: (got.append(answer), heard.set()))

        other.call_soon_threadsafe(take_over)
        pusher = Server("it", {"host": "127.0.0.1", "port": opened.sock.getpeername()[1]})
        assert pusher.ask(5, ("RPUSH", "moving", "message")) == 1
        assert await asyncio.to_thread(heard.wait, 10)
    finally:
        other.call_soon_threadsafe(connection.close)
        other.call_soon_threadsafe(other.stop)
        thread.join()
        other.close()
    assert popped == [[b"moving", b"message"]]
    assert got == [b"there"]


@pytest.mark.asyncio
async def test_a_server_that_does_not_answer_ends_it(own_redis_server: RedisServer) -> None:
    opened = Opened(own_redis_server, patience=SEND_TIMEOUT)
    opened.connection.attach(asyncio.get_running_loop())
    assert await opened.connection.answer("PING") == b"PONG"
    own_redis_server.pause()
    try:
        with pytest.raises(RedisUnavailable, match=f"no reply within {SEND_TIMEOUT} s"):
            await asyncio.wait_for(opened.connection.answer("PING"), DEADLINE)
    finally:
        own_redis_server.resume()
    assert opened.connection.closed
    assert len(opened.lost) == 1


@pytest.mark.asyncio
async def test_a_server_that_is_long_at_what_it_was_asked_does_not(redis_server: RedisServer) -> None:
    """It reads on when it has answered what it had read: who was asked much is busy, not away."""
    opened = Opened(redis_server, patience=SEND_TIMEOUT)
    connection = opened.connection
    connection.attach(asyncio.get_running_loop())
    more_than_it_reads_at_once = "x" * 50_000
    busy = "EVAL", Path(__file__).with_name("busy.lua").read_text(), 0, 100_000, more_than_it_reads_at_once
    replies = await asyncio.gather(*(connection.answer(*busy) for _ in range(30)))
    assert replies == [1] * 30  # after three seconds
    assert not opened.lost
    connection.close()


@pytest.mark.asyncio
async def test_a_server_that_dies_ends_it(own_redis_server: RedisServer) -> None:
    opened = Opened(own_redis_server)
    opened.connection.attach(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(opened.connection.answer("BLPOP", "never", 0))
    await asyncio.sleep(0)
    opened.connection.flush()
    own_redis_server.kill()
    with pytest.raises(RedisUnavailable):
        await asyncio.wait_for(waiting, 10)
    assert len(opened.lost) == 1


@pytest.mark.asyncio
async def test_after_the_end_everything_is_answered_at_once(opened: Opened) -> None:
    opened.connection.attach(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(opened.connection.answer("BLPOP", "never", 0))
    await asyncio.sleep(0)
    opened.connection.close()
    for each in (waiting, opened.connection.answer("PING")):
        with pytest.raises(RedisUnavailable):
            await asyncio.wait_for(each, 10)
    assert not opened.lost  # closed by us: no loss to report


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    ends[0].setblocking(False)
    with ends[0], ends[1]:
        yield ends


@pytest.mark.asyncio
class TestErrorsInScripts:
    async def test_have_the_words_of_the_command_whatever_the_server(
        self, ends: tuple[socket.socket, socket.socket]
    ) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        told: list[Any] = []
        for _ in range(3):
            connection.ask(b"a script", told.append)
        around = b"-ERR Error running script (call to f_0a1b): @user_script:12: @user_script: 12: "
        ends[1].sendall(around + b"-READONLY no: -YES or no\r\n" + around + b"a mistake\r\n-READONLY no\r\n")
        await until(lambda: len(told) == 3, "it has answered")
        connection.close()
        assert all(isinstance(reply, hiredis.ReplyError) for reply in told)
        assert list(map(str, told)) == ["READONLY no: -YES or no", around[1:].decode() + "a mistake", "READONLY no"]


@pytest.mark.asyncio
class TestWhoHasAsked:
    """It is told of the end, once."""

    async def test_ends_between_two_replies_of_one_read(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        told: list[Any] = []

        def refuse(reply: Any) -> None:
            told.append(reply)
            connection.fail(reply)

        connection.ask(b"first", refuse)
        connection.ask(b"second", told.append)
        ends[1].sendall(b"-READONLY no\r\n+OK\r\n")
        await until(lambda: connection.closed, "it has ended")
        await asyncio.sleep(0)
        assert [type(reply) for reply in told] == [hiredis.ReplyError, RedisUnavailable]

    async def test_ends_before_what_was_gathered_is_sent(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        told: list[Any] = []
        connection.gather(lambda: connection.ask(b"gathered", told.append))
        connection.close()
        assert [type(reply) for reply in told] == [RedisUnavailable]

    async def test_gathers_and_calls_after_its_end(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        connection.close()
        told: list[Any] = []
        connection.gather(lambda: connection.ask(b"gathered", told.append))
        await until(lambda: told, "it is told")
        await asyncio.to_thread(connection.soon, connection.ask, b"again", told.append)
        await until(lambda: len(told) == 2, "it is told")
        assert [type(reply) for reply in told] == [RedisUnavailable] * 2

    async def test_ends_while_no_loop_drives_it(self, ends: tuple[socket.socket, socket.socket]) -> None:
        connection = Connection(ends[0], "here", 5, lambda *_: None)
        connection.attach(asyncio.get_running_loop())
        connection.detach()
        told: list[Any] = []
        connection.soon(connection.ask, b"deferred", told.append)
        connection.close()
        await until(lambda: told, "it is told")
        assert [type(reply) for reply in told] == [RedisUnavailable]
