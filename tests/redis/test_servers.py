"""The servers of these tests, and the network between, do what they say."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis_servers
from proxy import RESETS, TcpProxy
from redis_sentinels import FAILOVER_DEADLINE, SentinelTopology
from redis_servers import RedisServer, require_server, skewed_python, wait_until

DELAY = 0.05
ORPHAN = """
import signal, sys
from redis_servers import RedisServer
with RedisServer(sys.argv[1]) as server:
    print(server.port, server.unix_socket, flush=True)
    signal.pause()
"""


@pytest.fixture
def exceptions() -> Iterator[object]:
    """Those of redis-py."""
    return pytest.importorskip("redis.exceptions")


class TestRedisServer:
    def test_each_has_its_own_memory(self, redis_server: RedisServer, own_redis_server: RedisServer) -> None:
        redis_server.client().set("key", "value")
        assert redis_server.address != own_redis_server.address
        assert own_redis_server.client().get("key") is None
        assert redis_server.client().get("key") == b"value"

    def test_is_reached_by_port_and_by_unix_socket(self, redis_server: RedisServer) -> None:
        from redis import Redis

        for url in (redis_server.url, redis_server.unix_url):
            with Redis.from_url(url) as client:
                assert client.info()["process_id"] == redis_server.pid

    def test_versions(self, redis_server: RedisServer, redis_62_server: RedisServer) -> None:
        assert redis_62_server.client().info()["redis_version"].startswith("6.2.")
        assert redis_servers.server_version(redis_server.binary) >= (7, 0)

    def test_debug_is_allowed(self, redis_server: RedisServer, redis_62_server: RedisServer) -> None:
        for server in (redis_server, redis_62_server):
            assert server.client().execute_command("DEBUG", "SLEEP", "0.001") == b"OK"

    @pytest.mark.parametrize("end", [RedisServer.kill, RedisServer.stop])
    def test_comes_back_empty_on_its_port(self, own_redis_server: RedisServer, end, exceptions) -> None:
        client, address = own_redis_server.client(), own_redis_server.address
        client.set("key", "value")
        end(own_redis_server)
        assert not own_redis_server.is_running
        with pytest.raises(exceptions.ConnectionError):
            client.get("key")
        own_redis_server.start()
        assert own_redis_server.address == address
        assert client.get("key") is None

    def test_pause_answers_late(self, own_redis_server: RedisServer) -> None:
        with socket.create_connection(own_redis_server.address) as connection:
            own_redis_server.pause()
            connection.sendall(b"PING\r\n")
            connection.setblocking(False)
            with pytest.raises(BlockingIOError):
                connection.recv(100)
            own_redis_server.resume()
            connection.settimeout(redis_servers.DEADLINE)
            assert connection.recv(100) == b"+PONG\r\n"

    def test_paused_server_can_be_stopped(self, own_redis_server: RedisServer) -> None:
        own_redis_server.pause()
        own_redis_server.stop()
        assert not own_redis_server.is_running

    def test_config_returns_the_former_value(self, own_redis_server: RedisServer) -> None:
        assert own_redis_server.config("maxmemory", 10_000_000) == "0"
        assert own_redis_server.config("maxmemory", 0) == "10000000"

    def test_kill_clients(self, own_redis_server: RedisServer) -> None:
        with (
            socket.create_connection(own_redis_server.address) as normal,
            socket.create_connection(own_redis_server.address) as subscriber,
        ):
            for connection in (normal, subscriber):
                connection.settimeout(redis_servers.DEADLINE)
            normal.sendall(b"PING\r\n")
            subscriber.sendall(b"SUBSCRIBE news\r\n")
            assert normal.recv(100)
            assert subscriber.recv(100)
            assert own_redis_server.kill_clients("pubsub") == 1
            assert subscriber.recv(100) == b""
            normal.sendall(b"PING\r\n")
            assert normal.recv(100) == b"+PONG\r\n"
            assert own_redis_server.kill_clients() == 1
            assert normal.recv(100) == b""

    def test_options_reach_it(self) -> None:
        with RedisServer(require_server("redis-server"), "--requirepass", "secret") as server:
            assert server.new_client(password="secret").ping()

    def test_says_why_it_does_not_start(self) -> None:
        server = RedisServer(require_server("redis-server"), "--no-such-option", "1")
        with pytest.raises(RuntimeError, match="no-such-option"):
            server.__enter__()

    def test_takes_another_port_if_one_is_taken(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = random.choice
        choices = iter([redis_server.port])
        monkeypatch.setattr(random, "choice", lambda ports: next(choices, None) or free(ports))
        with RedisServer(redis_server.binary) as other:
            assert other.port != redis_server.port
            assert other.client().info()["process_id"] == other.pid

    def test_ends_when_the_test_fails(self) -> None:
        def fails() -> None:
            with server:
                folders.append(Path(server.unix_socket).parent)
                raise ZeroDivisionError

        server = RedisServer(require_server("redis-server"))
        folders: list[Path] = []
        with pytest.raises(ZeroDivisionError):
            fails()
        assert not server.is_running
        assert not folders[0].exists()

    def test_ends_when_the_tests_are_killed(self) -> None:
        tests = subprocess.Popen(
            [sys.executable, "-c", ORPHAN, require_server("redis-server")],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            stdout=subprocess.PIPE,
            text=True,
        )
        with tests:
            assert tests.stdout is not None
            port, unix_socket = tests.stdout.readline().split()
            address = "127.0.0.1", int(port)
            assert _listens(address)
            tests.kill()
        wait_until(lambda: not _listens(address), "the server is killed")
        wait_until(lambda: not Path(unix_socket).parent.exists(), "its folder is removed")


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    return True


class TestRequireServer:
    @pytest.fixture
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        monkeypatch.setenv("PATH", "/nonexistent")
        return monkeypatch

    def test_skips_on_a_desk(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception, match="no redis-server on the PATH"):
            require_server("redis-server")

    def test_fails_in_ci(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("CI", "true")
        with pytest.raises(pytest.fail.Exception, match="no redis-server on the PATH"):
            require_server("redis-server")

    def test_does_not_take_the_wheels_server_for_the_systems(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("PATH", str(Path(sys.executable).parent))
        environment.delenv("CI", raising=False)
        with pytest.raises(pytest.skip.Exception):
            require_server("redis-server")


class TestSentinelTopology:
    def test_another_master_after_a_kill(self, sentinel_topology: SentinelTopology) -> None:
        former = sentinel_topology.kill_master()
        master = sentinel_topology.wait_for_master(former)
        master.client().set("key", "value")
        former.start()
        wait_until(
            lambda: former.role == "slave" and former.client().info("replication")["master_link_status"] == "up",
            lambda: f"the former master is a replica:\n{sentinel_topology.log}",
            FAILOVER_DEADLINE,
        )
        assert former.client().get("key") == b"value"

    def test_another_master_after_a_failover(self, sentinel_topology: SentinelTopology) -> None:
        from redis.sentinel import Sentinel

        former = sentinel_topology.failover()
        master = sentinel_topology.wait_for_master(former)
        assert former.is_running
        for address in sentinel_topology.sentinel_addresses:
            sentinel = Sentinel([address])
            assert sentinel.discover_master(sentinel_topology.service_name) == master.address
            sentinel.sentinels[0].close()

    def test_another_master_after_a_pause(self, sentinel_topology: SentinelTopology) -> None:
        former = sentinel_topology.wait_for_master()
        former.pause()
        assert sentinel_topology.wait_for_master(former).client().ping()
        former.resume()
        assert former.client().ping()


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[TcpProxy]:
    with TcpProxy(*redis_server.address) as proxy:
        yield proxy


@pytest.fixture
def connection(proxy: TcpProxy) -> Iterator[socket.socket]:
    """A connection through the proxy, with which a PING has come and gone; the proxy has counted 6 bytes and 7."""
    with socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as connection:
        connection.sendall(b"PING\r\n")
        assert _receive(connection, 7) == b"+PONG\r\n"
        wait_until(lambda: (proxy.bytes_to_target, proxy.bytes_to_client) == (6, 7), "the proxy has counted")
        yield connection


def _receive(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = connection.recv(length - len(data))
        assert more, f"the connection ended after {data!r}"
        data += more
    return data


class TestTcpProxy:
    def test_forwards_and_counts(self, proxy: TcpProxy, connection: socket.socket) -> None:
        assert (proxy.bytes_to_target, proxy.bytes_to_client) == (6, 7)
        assert (proxy.accepted, proxy.open_connections) == (1, 1)
        with socket.create_connection(proxy.address):
            wait_until(lambda: (proxy.accepted, proxy.open_connections) == (2, 2), "the second is counted")
        wait_until(lambda: proxy.open_connections == 1, "the second has ended")
        assert proxy.accepted == 2

    def test_large_values_arrive_whole(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        value = random.Random(0).randbytes(40_000_000)  # more than the proxy holds back
        with redis_server.new_client(port=proxy.port) as client:
            client.set("large", value)
            assert client.get("large") == value
            client.delete("large")
        assert proxy.bytes_to_target > len(value)

    def test_delay_each_way(self, proxy: TcpProxy, connection: socket.socket) -> None:
        proxy.delay = DELAY
        begin = time.monotonic()
        connection.sendall(b"PING\r\n")
        assert _receive(connection, 7)
        assert time.monotonic() - begin >= 2 * DELAY

    def test_delay_does_not_make_requests_wait_for_each_other(self, proxy: TcpProxy, connection: socket.socket) -> None:
        count = 2_000
        proxy.delay = DELAY
        begin = time.monotonic()
        for number in range(count):
            connection.sendall(b"ECHO %04d\r\n" % number)
        replies = _receive(connection, count * 10)
        # One after the other they would run into the test's time limit.
        assert time.monotonic() - begin >= 2 * DELAY
        assert replies == b"".join(b"$4\r\n%04d\r\n" % number for number in range(count))

    def test_delay_holds_back_any_number(self, proxy: TcpProxy, connection: socket.socket) -> None:
        proxy.delay = 1_000.0
        for number in range(1, 100):
            connection.sendall(b"PING\r\n")
            wait_until(lambda length=6 * number: proxy.bytes_under_way == length, "the proxy has read it")
        assert proxy.bytes_to_target == 6

    def test_less_delay_keeps_the_order(self, proxy: TcpProxy, connection: socket.socket) -> None:
        proxy.delay = DELAY
        connection.sendall(b"ECHO 1\r\n")
        wait_until(lambda: proxy.bytes_under_way == 8, "the proxy has read the first")
        proxy.delay = 0.0
        connection.sendall(b"ECHO 2\r\n")
        assert _receive(connection, 14) == b"$1\r\n1\r\n$1\r\n2\r\n"

    def test_black_hole_and_heal(self, proxy: TcpProxy, connection: socket.socket, redis_server: RedisServer) -> None:
        proxy.black_hole()
        connection.sendall(b"INCR lost\r\n")
        with socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as second:
            second.sendall(b"INCR lost\r\n")
            wait_until(lambda: proxy.accepted == 2, "the proxy has accepted")
            wait_until(lambda: proxy.bytes_under_way == 11, "the proxy has read")
            for waiting in (connection, second):
                waiting.setblocking(False)
                with pytest.raises(BlockingIOError):
                    waiting.recv(100)
            assert redis_server.client().get("lost") is None
            assert (proxy.bytes_to_target, proxy.bytes_to_client) == (6, 7)
            proxy.heal()
            for waiting in (connection, second):
                waiting.settimeout(redis_servers.DEADLINE)
            assert {_receive(connection, 4), _receive(second, 4)} == {b":1\r\n", b":2\r\n"}
        redis_server.client().delete("lost")

    def test_black_hole_swallows_the_end_of_a_connection(self, proxy: TcpProxy, redis_server: RedisServer) -> None:
        def clients() -> int:
            return redis_server.client().info("clients")["connected_clients"]

        before = clients()
        for end in (_close, _reset):
            connection = socket.create_connection(proxy.address)
            wait_until(lambda: clients() == before + 1, "the server has a client more")
            proxy.black_hole()
            connection.sendall(b"PING\r\n")
            end(connection)
            wait_until(lambda: proxy.bytes_under_way == 6, "the proxy has read")
            assert clients() == before + 1
            assert proxy.open_connections == 1
            proxy.heal()
            wait_until(lambda: clients() == before, "the server has heard that its client is gone")
            wait_until(lambda: proxy.open_connections == 0, "the proxy has, too")

    def test_cut_resets_both_sides(self, proxy: TcpProxy, connection: socket.socket, redis_server: RedisServer) -> None:
        before = redis_server.client().info("clients")["connected_clients"]
        proxy.cut()
        assert proxy.open_connections == 0
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
        wait_until(
            lambda: redis_server.client().info("clients")["connected_clients"] == before - 1,
            "the server has a client less",
        )
        with socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as another:
            another.sendall(b"PING\r\n")
            assert _receive(another, 7) == b"+PONG\r\n"

    def test_cut_in_a_black_hole(self, proxy: TcpProxy, connection: socket.socket) -> None:
        proxy.black_hole()
        with socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as another:
            wait_until(lambda: proxy.accepted == 2, "the proxy has accepted")
            proxy.cut()
            for ended in (connection, another):
                with pytest.raises(ConnectionResetError):
                    ended.recv(100)

    def test_target_that_is_down_resets(self, own_redis_server: RedisServer) -> None:
        own_redis_server.kill()
        with (
            TcpProxy(*own_redis_server.address) as proxy,
            pytest.raises(ConnectionResetError),  # perhaps before connecting has returned
            socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as connection,
        ):
            connection.recv(100)

    def test_end_of_the_server_reaches_the_client(self, own_redis_server: RedisServer) -> None:
        with (
            TcpProxy(*own_redis_server.address) as proxy,
            socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE) as connection,
        ):
            connection.sendall(b"PING\r\n")
            assert _receive(connection, 7)
            own_redis_server.kill()
            assert connection.recv(100) == b""

    def test_ends_with_its_connections(self, redis_server: RedisServer) -> None:
        with TcpProxy(*redis_server.address) as proxy:
            connection = socket.create_connection(proxy.address, timeout=redis_servers.DEADLINE)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(100)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(proxy.address)


def _close(connection: socket.socket) -> None:
    connection.close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
    connection.close()


@pytest.mark.parametrize("offset", [-86_400.0, 86_400.0])
def test_skewed_python_has_another_time_but_the_same_clock(offset: float) -> None:
    code = "import sys, time; print(time.time(), time.time_ns() / 1e9, time.monotonic(), *sys.argv[1:])"
    before, begin = time.time(), time.monotonic()
    output = subprocess.run([*skewed_python(offset), code, "argument"], capture_output=True, text=True, check=True)
    seconds, nanoseconds, monotonic, argument = output.stdout.split()
    for shifted in (float(seconds), float(nanoseconds)):
        assert shifted - offset >= before - 1
        assert shifted - offset <= time.time() + 1
    assert begin <= float(monotonic) <= time.monotonic()
    assert argument == "argument"
