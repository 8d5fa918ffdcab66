"""What a process is subscribed to, whatever happens to its connections, and whom it tells that it is.

The connections are real, and at their other end is a server that answers when a test says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from functools import partial
from typing import Any

import hiredis
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from channel_layers import LayerUnavailable
from channel_layers.redis.connection import pack
from channel_layers.redis.pubsub.subscriber import Message, Subscriber
from channel_layers.redis.pubsub.subscriptions import Confirmation, Subscriptions


class Server:
    """One end of a connection: keeps who is subscribed to what, as Redis does, one command at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self.subscribed: set[str] = set()
        #: All names that were ever subscribed to here.
        self.confirmed: set[str] = set()
        self.asked: list[str] = []
        self.refuses: set[str] = set()
        self._sock = sock
        self._parser = hiredis.Reader()
        sock.setblocking(False)

    def serve(self, count: int = 1_000) -> int:
        """Carry out so many commands; how many there were."""
        with contextlib.suppress(BlockingIOError):
            self._parser.feed(self._sock.recv(1 << 20))
        for served in range(count):
            command = self._parser.gets()
            if command is False:
                return served
            self._carry_out(*(word.decode() for word in command))
        return count

    def _carry_out(self, verb: str, name: str) -> None:
        self.asked.append(f"{verb} {name}")
        if name in self.refuses:
            self._sock.sendall(b"-NOPERM no\r\n")
            return
        if verb == "SUBSCRIBE":
            self.subscribed.add(name)
            self.confirmed.add(name)
        else:
            self.subscribed.discard(name)
        kind = verb.lower()
        reply = f"*3\r\n${len(kind)}\r\n{kind}\r\n${len(name)}\r\n{name}\r\n:{len(self.subscribed)}\r\n"
        self._sock.sendall(reply.encode())

    def publish(self, name: str, data: str) -> None:
        self._sock.sendall(f"*3\r\n$7\r\nmessage\r\n${len(name)}\r\n{name}\r\n${len(data)}\r\n{data}\r\n".encode())

    def end(self) -> None:
        self._sock.close()


class Client:
    """The other end, and the loop that drives it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lock = threading.Lock()
        self.subscriptions = Subscriptions(self.lock)
        self.messages: list[Message] = []
        self.connection: Subscriber | None = None
        self.server: Server | None = None

    def connect(self) -> Server:
        self._end_connection()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.connection = Subscriber(ours, "here", 60, lambda *_: None)
        self.connection.on_messages = self.messages.extend
        self.server = Server(theirs)
        self.run(self._attach(self.connection))
        return self.server

    async def _attach(self, connection: Subscriber) -> None:
        connection.attach(self.loop)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def turn(self) -> None:
        """All that can happen by itself happens."""
        self.run(_some_turns())

    def _end_connection(self) -> None:
        if self.connection is not None:
            self.run(self._close(self.connection))
        if self.server is not None:
            self.server.end()

    def close(self) -> None:
        self._end_connection()
        self.turn()
        self.loop.close()

    async def _close(self, connection: Subscriber) -> None:
        connection.close()


async def _some_turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Waiting:
    """Somebody who waits until a name is live."""

    def __init__(self, machine: SubscriptionsMachine, name: str) -> None:
        self.machine, self.name, self.times = machine, name, 0
        self.is_given_up = False

    def __call__(self, error: Exception | None) -> None:
        self.times += 1
        assert error is None
        server = self.machine.client.server
        assert self.is_given_up or (server is not None and self.name in server.confirmed)


NAMES = st.sampled_from("abc")


class SubscriptionsMachine(RuleBasedStateMachine):
    """Names are wanted and dropped while connections come and go, and the server is as slow as it likes."""

    @initialize()
    def begin(self) -> None:
        self.client = Client()
        self.wanted: set[str] = set()
        self.waiting: list[Waiting] = []
        self.renewing: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        connection = self.client.connection
        return connection is not None and not connection.closed

    @rule(name=NAMES)
    def want(self, name: str) -> None:
        waiting = Waiting(self, name)
        with self.client.lock:
            is_live = self.client.subscriptions.want(name, waiting)
        self.wanted.add(name)
        if is_live:
            assert self.is_connected
            assert self.client.server is not None
            assert name in self.client.server.confirmed
        else:
            self.waiting.append(waiting)

    @rule(name=NAMES)
    def drop(self, name: str) -> None:
        with self.client.lock:
            self.client.subscriptions.drop(name)
        self.client.subscriptions.drop_unwanted()  # as a moment later
        self.wanted.discard(name)
        for waiting in self.waiting:
            waiting.is_given_up = waiting.is_given_up or waiting.name == name

    @rule(count=st.integers(1, 4))
    def serve(self, count: int) -> None:
        self.client.turn()
        if self.is_connected and self.client.server is not None:
            self.client.server.serve(count)

    @rule()
    def turn(self) -> None:
        self.client.turn()

    @rule(is_noticed=st.booleans())
    def lose(self, is_noticed: bool) -> None:
        """The connection ends; whoever looks after it says so, or is about to."""
        if not self.is_connected or self.client.server is None:
            return
        self.client.server.end()
        self.client.turn()
        assert not self.is_connected
        if is_noticed:
            with self.client.lock:
                self.client.subscriptions.lose()

    @rule()
    def connect(self) -> None:
        if self.is_connected:
            return
        self._settle_renewing()
        self.client.connect()
        assert self.client.connection is not None
        self.renewing = self.client.loop.create_task(self.client.subscriptions.renew(self.client.connection))
        self.client.turn()

    def _settle_renewing(self) -> None:
        if self.renewing is not None:
            assert self.renewing.done()
            if not self.renewing.cancelled():
                error = self.renewing.exception()
                assert error is None or isinstance(error, LayerUnavailable)
        self.renewing = None

    @invariant()
    def nobody_is_told_twice(self) -> None:
        assert all(waiting.times <= 1 for waiting in self.waiting)

    @invariant()
    def what_is_wanted_is_known(self) -> None:
        assert {name for name in "abc" if name in self.client.subscriptions} == self.wanted
        assert len(self.client.subscriptions) == len(self.wanted)

    def teardown(self) -> None:
        """When the server has caught up, it has what is wanted, and all who waited for that know."""
        if hasattr(self, "client"):
            try:
                self._check_the_end()
            finally:
                self.client.close()

    def _check_the_end(self) -> None:
        self.connect()
        server = self.client.server
        assert server is not None
        self.client.turn()
        while server.serve():
            self.client.turn()
        self._settle_renewing()
        assert server.subscribed == self.wanted
        for waiting in self.waiting:
            assert waiting.times == 1 or waiting.is_given_up
        for name in self.wanted:
            with self.client.lock:
                assert self.client.subscriptions.want(name)


TestSubscriptionsMachine = SubscriptionsMachine.TestCase
TestSubscriptionsMachine.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


def renew(client: Client) -> asyncio.Task[None]:
    assert client.connection is not None
    task = client.loop.create_task(client.subscriptions.renew(client.connection))
    client.turn()
    return task


class TestRenew:
    def test_waits_for_all(self, client: Client) -> None:
        for name in "ab":
            client.subscriptions.want(name)
        server = client.connect()
        renewing = renew(client)
        server.serve(1)
        client.turn()
        assert not renewing.done()
        server.serve()
        client.run(asyncio.wait_for(renewing, 5))
        assert server.subscribed == {"a", "b"}

    def test_does_not_wait_for_nothing(self, client: Client) -> None:
        client.connect()
        client.run(asyncio.wait_for(renew(client), 5))

    def test_what_was_live_is_not_until_it_is_again(self, client: Client) -> None:
        told: list[Exception | None] = []
        client.subscriptions.want("a")
        server = client.connect()
        renewing = renew(client)
        server.serve()
        client.run(renewing)
        assert client.subscriptions.want("a")
        client.connect()
        renewing = renew(client)
        assert not client.subscriptions.want("a", told.append)
        assert told == []
        assert client.server is not None
        client.server.serve()
        client.run(renewing)
        assert told == [None]
        server.end()

    def test_what_was_live_is_not_when_the_connection_has_ended(self, client: Client) -> None:
        """Though nobody has told of that yet."""
        told: list[Exception | None] = []
        client.subscriptions.want("a")
        server = client.connect()
        renewing = renew(client)
        server.serve()
        client.run(renewing)
        server.end()
        client.turn()
        assert not client.subscriptions.want("a", told.append)
        server = client.connect()
        renewing = renew(client)
        server.serve()
        client.run(renewing)
        assert told == [None]

    def test_ends_when_the_connection_does(self, client: Client) -> None:
        client.subscriptions.want("a")
        server = client.connect()
        renewing = renew(client)
        server.end()
        with pytest.raises(LayerUnavailable):
            client.run(asyncio.wait_for(renewing, 5))
        assert not client.subscriptions.want("a")

    def test_is_refused(self, client: Client) -> None:
        """Who waits is told; the others are not, and wait for the next connection."""
        told: list[Exception | None] = []
        for name in "ab":
            client.subscriptions.want(name, told.append)
        server = client.connect()
        server.refuses = {"a"}
        renewing = renew(client)
        server.serve()
        with pytest.raises(LayerUnavailable, match="no right to what SUBSCRIBE needs"):
            client.run(asyncio.wait_for(renewing, 5))
        assert [type(error) for error in told if error is not None] != []
        assert told.count(None) == 1


class TestOrder:
    def test_the_last_wish_holds(self, client: Client) -> None:
        """From whatever thread, before anything was answered."""
        server = client.connect()
        client.run(renew(client))

        def change() -> None:
            for _ in range(20):
                with client.lock:
                    client.subscriptions.want("a")
                    client.subscriptions.drop("a")
                client.subscriptions.drop_unwanted()
                with client.lock:
                    client.subscriptions.want("a")

        thread = threading.Thread(target=change)
        thread.start()
        thread.join()
        client.turn()
        server.serve()
        client.turn()
        assert server.subscribed == {"a"}
        assert client.subscriptions.want("a")

    def test_wanted_twice_is_asked_once(self, client: Client) -> None:
        server = client.connect()
        client.run(renew(client))
        told: list[Exception | None] = []
        waiting = [partial(told.append) for _ in range(4)]
        for each in waiting:
            assert not client.subscriptions.want("a", each)
        client.subscriptions.wait_no_longer("a", waiting[1])
        client.turn()
        server.serve()
        client.turn()
        assert server.asked == ["SUBSCRIBE a"]
        assert told == [None] * 3


class TestConfirmation:
    @pytest.mark.asyncio
    async def test_comes_from_another_thread(self) -> None:
        confirmation = Confirmation()
        threading.Thread(target=confirmation.settle).start()
        assert await confirmation.came(5)
        confirmation.settle(ValueError("too late"))
        assert await confirmation.came(5)

    @pytest.mark.asyncio
    async def test_does_not_come(self) -> None:
        assert not await Confirmation().came(0.01)

    @pytest.mark.asyncio
    async def test_brings_an_error(self) -> None:
        confirmation = Confirmation()
        confirmation.settle(LayerUnavailable("no"))
        with pytest.raises(LayerUnavailable):
            await confirmation.came(5)

    def test_to_a_loop_that_has_ended(self) -> None:
        async def make() -> Confirmation:
            return Confirmation()

        asyncio.run(make()).settle()


def test_messages_come_between_replies_in_their_order(client: Client) -> None:
    """Also those that come in one piece with them."""
    server, events = client.connect(), list[Any]()
    connection = client.connection
    assert connection is not None
    connection.on_messages = lambda messages: events.append([message[2] for message in messages])

    async def ask() -> None:
        for name in "ab":
            connection.ask(pack("SUBSCRIBE", name), lambda reply: events.append(reply[1]))

    client.run(ask())
    client.turn()
    server.serve(1)
    for n in "12":
        server.publish("a", n)
    server.serve(1)
    server.publish("b", "3")
    client.turn()
    assert events == [b"a", [b"1", b"2"], b"b", [b"3"]]
    assert connection.is_idle
