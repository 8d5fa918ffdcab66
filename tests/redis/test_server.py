"""From an address to a connected socket, with real servers."""

from __future__ import annotations

import gc
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
from server_options import (
    ask,
    certificates,
    free_port,
    redis_sentinel,
    redis_server,
    tls_options,
    wait_until,
)

from channel_layers import LayerUnavailable
from channel_layers.redis.errors import RedisUnavailable
from channel_layers.redis.hosts import parse_hosts
from channel_layers.redis.server import Server

USER = ("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-@dangerous", "-@scripting")


def server(host: Any) -> Server:
    return parse_hosts([host])[0]


def spoken(sock: socket.socket, *words: str) -> bytes:
    """Send an inline command over the socket, which is closed afterwards; return the reply."""
    with closing(sock):
        assert sock.gettimeout() == 0
        with pytest.raises((BlockingIOError, ssl.SSLWantReadError)):
            sock.recv(1)
        sock.settimeout(5)
        sock.sendall(" ".join(words).encode() + b"\r\n")
        return sock.recv(4096)


def refused(host: Any, *commands: tuple[str, ...], timeout: float = 5) -> str:
    """What the error says when the server cannot be opened."""
    with pytest.raises(RedisUnavailable) as caught:
        server(host).open(timeout, commands)
    assert caught.value.__cause__ is not None
    assert "secret" not in repr(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[int]:
    """A server without a password, also on a socket file, with a limited user."""
    with redis_server(folder, "--unixsocket", str(folder / "redis.sock")) as port:
        ask(port, *USER)
        yield port


@pytest.fixture(scope="module")
def locked(folder: Path) -> Iterator[int]:
    with redis_server(folder, "--requirepass", "secret") as port:
        yield port


@pytest.fixture(scope="module")
def authority(folder: Path) -> dict[str, str]:
    return certificates(folder)


@pytest.fixture(scope="module")
def encrypted(folder: Path, authority: dict[str, str]) -> Iterator[int]:
    with redis_server(folder, *tls_options(authority), tls=True) as port:
        yield port


# What opens


def test_plain(plain: int) -> None:
    assert spoken(server(("127.0.0.1", plain)).open(5), "PING") == b"+PONG\r\n"


def test_the_socket_is_the_callers(plain: int) -> None:
    host = server(("127.0.0.1", plain))
    first, second = host.open(5), host.open(5)
    del host
    assert spoken(first, "PING") == spoken(second, "PING") == b"+PONG\r\n"


def test_nothing_is_inherited_and_a_dead_peer_is_noticed(plain: int) -> None:
    with closing(server(("127.0.0.1", plain)).open(5)) as sock:
        assert not sock.get_inheritable()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_keepalive_can_be_switched_off(plain: int) -> None:
    host = server({"address": ("127.0.0.1", plain), "socket_keepalive": False})
    with closing(host.open(5)) as sock:
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_database_number(plain: int) -> None:
    spoken(server(f"redis://127.0.0.1:{plain}/3").open(5), "SET", "where", "three")
    assert ask(plain, "GET", "where", db=3) == b"three"
    assert ask(plain, "GET", "where") is None


def test_socket_file(plain: int, folder: Path) -> None:
    assert spoken(server(f"unix://{folder}/redis.sock?db=2").open(5), "PING") == b"+PONG\r\n"


def test_password(locked: int) -> None:
    for host in (f"redis://:secret@127.0.0.1:{locked}/0", {"address": ("127.0.0.1", locked), "password": "secret"}):
        assert spoken(server(host).open(5), "PING") == b"+PONG\r\n"


def test_user(plain: int) -> None:
    assert b"limited" in spoken(server(f"redis://limited:secret@127.0.0.1:{plain}/1").open(5), "ACL", "WHOAMI")


def test_credential_provider(plain: int) -> None:
    class Provider:
        def get_credentials(self) -> tuple[str, str]:
            return "limited", "secret"

    host = {"host": "127.0.0.1", "port": plain, "credential_provider": Provider()}
    assert b"limited" in spoken(server(host).open(5), "ACL", "WHOAMI")


def test_client_name(plain: int) -> None:
    host = server({"address": ("127.0.0.1", plain), "client_name": "layer"})
    assert b"layer" in spoken(host.open(5), "CLIENT", "GETNAME")


def test_no_command_but_those_that_are_needed(plain: int) -> None:
    """A user may have few rights: no CLIENT SETINFO, no HELLO."""
    ask(plain, "CONFIG", "RESETSTAT")
    limited = f"redis://limited:secret@127.0.0.1:{plain}/1"
    assert spoken(server(limited).open(5, [("ECHO", "x")]), "ECHO", "y") == b"$1\r\ny\r\n"
    host = server(("127.0.0.1", plain))
    used = set(re.findall(r"cmdstat_([^:]+):", spoken(host.open(5), "INFO", "commandstats").decode()))
    assert used - {"config|resetstat"} == {"auth", "select", "ping", "echo"}
    assert b"total_error_replies:0\r\n" in spoken(host.open(5), "INFO", "stats")


def test_no_right_to_ping(plain: int) -> None:
    ask(plain, "ACL", "SETUSER", "mute", "on", ">secret", "+echo")
    assert spoken(server(f"redis://mute:secret@127.0.0.1:{plain}").open(5), "ECHO", "x") == b"$1\r\nx\r\n"


def test_commands_run(plain: int) -> None:
    host = server(f"redis://127.0.0.1:{plain}/5")
    many = [("RPUSH", "list", str(number)) for number in range(500)]
    assert spoken(host.open(5, [*many, (b"RPUSH", b"list", b"\xff")]), "LLEN", "list") == b":501\r\n"


def test_tls(encrypted: int, authority: dict[str, str]) -> None:
    for host in (
        {"address": f"rediss://localhost:{encrypted}/1", "ssl_ca_certs": authority["ca"], "ssl_check_hostname": True},
        {"address": ("127.0.0.1", encrypted), "ssl": True, "ssl_ca_certs": authority["ca"]},
        f"rediss://127.0.0.1:{encrypted}?ssl_ca_certs={authority['ca']}",
        {"address": f"rediss://127.0.0.1:{encrypted}", "ssl_cert_reqs": None, "ssl_check_hostname": False},
    ):
        sock = server(host).open(5, [("SCRIPT", "LOAD", "return 1")])
        assert isinstance(sock, ssl.SSLSocket)
        assert spoken(sock, "PING") == b"+PONG\r\n"


# What does not


@pytest.fixture
def collected() -> Iterator[None]:
    yield
    gc.collect()


def leaking(test: Any) -> Any:
    """redis-py 5.0 leaves the socket of some failures to the garbage collector; later versions do not."""
    return pytest.mark.usefixtures("collected")(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")(test))


@leaking
def test_no_server(tmp_path: Path) -> None:
    port = free_port()
    assert refused(("127.0.0.1", port)) == (f"Redis at 127.0.0.1:{port}/0: nobody listens there (connection refused)")
    assert refused({"host": "127.0.0.1", "port": port, "name": "shard"}) == (
        f"Redis at shard (127.0.0.1:{port}/0): nobody listens there (connection refused)"
    )
    assert refused(f"unix://{tmp_path}/none.sock").endswith("none.sock/0: No such file or directory")
    assert "its host name is unknown" in refused(("no-such-host.invalid", 6379))


def test_error_is_of_all_kinds() -> None:
    for kind in (LayerUnavailable, ConnectionError, OSError, redis.exceptions.ConnectionError):
        with pytest.raises(kind):
            server(("127.0.0.1", free_port())).open(5)


def test_wrong_password(plain: int, locked: int) -> None:
    assert "wrong password (" in refused(f"redis://:other-secret@127.0.0.1:{locked}")
    assert "wrong password for the user 'limited'" in refused(f"redis://limited:nosecret@127.0.0.1:{plain}")
    assert "wrong password for the user 'nobody', or no such user" in refused(
        f"redis://nobody:secret@127.0.0.1:{plain}"
    )
    assert "it asks for a password" in refused(f"redis://127.0.0.1:{locked}")
    assert "a password was given, but it has none" in refused(f"redis://:secret@127.0.0.1:{plain}")


def test_a_server_that_repeats_the_password(folder: Path) -> None:
    """An unknown command is answered with its arguments."""
    with redis_server(folder, "--rename-command", "AUTH", "") as port, pytest.raises(RedisUnavailable) as caught:
        server(f"redis://:secret@127.0.0.1:{port}").open(5)
    assert "unknown command" in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.__cause__}"


def test_no_such_database(plain: int) -> None:
    assert "DB index is out of range" in refused(f"redis://127.0.0.1:{plain}/99")


def test_no_right_to_a_command(plain: int) -> None:
    load = ("SCRIPT", "LOAD", "return 1")
    text = refused(f"redis://limited:secret@127.0.0.1:{plain}", ("ECHO", "x"), load)
    assert text.startswith(f"Redis at 127.0.0.1:{plain}/0: SCRIPT LOAD: a right is missing (")
    assert "'script|load'" in text
    assert "return 1" not in text


def test_a_command_fails(plain: int) -> None:
    assert "SCRIPT LOAD: Error compiling" in refused(("127.0.0.1", plain), ("SCRIPT", "LOAD", "syntax error"))


def test_no_place_left(folder: Path) -> None:
    with redis_server(folder, "--maxclients", "1") as port:
        host = server(("127.0.0.1", port))
        wait_until(lambda: opens(host))
        with closing(host.open(5)):
            assert "it has no place for another connection" in refused(("127.0.0.1", port))
            assert "it has no place for another connection" in refused(f"redis://:secret@127.0.0.1:{port}/1")


def opens(host: Server) -> bool:
    try:
        host.open(5).close()
    except RedisUnavailable:
        return False
    return True


@pytest.mark.parametrize("limit", ["open", "socket_timeout"])
def test_black_hole(limit: str) -> None:
    """Somebody listens and never answers; the host's own limit shortens that of ``open()``."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()[:2]
        began = time.monotonic()
        if limit == "open":
            text = refused({"address": address, "socket_timeout": 60}, timeout=0.3)
        else:
            text = refused({"address": address, "socket_timeout": 0.3}, timeout=60)
        assert text == f"Redis at 127.0.0.1:{address[1]}/0: timed out"
        assert 0.25 < time.monotonic() - began < 60


def test_black_hole_on_a_socket_file(tmp_path: Path) -> None:
    path = f"{tmp_path}/hole.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert refused(f"unix://{path}", timeout=0.3) == f"Redis at unix:{path}/0: timed out"


@leaking
def test_black_hole_that_does_not_even_accept(tmp_path: Path) -> None:
    path = f"{tmp_path}/full.sock"
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as others:
        listener.bind(path)
        listener.listen(0)
        for _ in range(3):  # more than the queue takes
            other = others.enter_context(socket.socket(socket.AF_UNIX))
            other.setblocking(False)
            other.connect_ex(path)
        assert (
            refused(f"unix://{path}", timeout=0.3)
            == f"Redis at unix:{path}/0: it does not accept connections (its queue is full)"
        )


@leaking
def test_tls_that_fails(folder: Path, plain: int, encrypted: int, authority: dict[str, str]) -> None:
    other = certificates(folder, "other")
    address = {"address": f"rediss://127.0.0.1:{encrypted}"}
    assert "its TLS certificate is not accepted" in refused({**address, "ssl_ca_certs": other["ca"]})
    assert "its TLS certificate is not accepted" in refused(address)
    assert "No such file" in refused({**address, "ssl_ca_certs": f"{folder}/none.pem"})
    assert "does it speak TLS?" in refused(f"rediss://127.0.0.1:{plain}", timeout=0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        thread.start()
        assert "TLS failed" in refused(f"rediss://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert "closed" in refused(("127.0.0.1", encrypted)).lower()


def test_wrong_host_name(encrypted: int, authority: dict[str, str]) -> None:
    host = {"address": f"rediss://127.0.0.2:{encrypted}", "ssl_ca_certs": authority["ca"], "ssl_check_hostname": True}
    assert "127.0.0.2" in refused(host)


# Sentinel


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """A master and its replica, in step."""
    soon = ("--repl-diskless-sync-delay", "0")
    with (
        redis_server(tmp_path, *soon) as master,
        redis_server(tmp_path, "--replicaof", f"127.0.0.1 {master}") as replica,
    ):
        wait_until(lambda: ask(replica, "INFO", "replication")["master_link_status"] == "up")
        yield master, replica


def behind(sentinel: int, *before: int, **options: Any) -> dict[str, Any]:
    return {"sentinels": [("127.0.0.1", port) for port in (*before, sentinel)], "master_name": "mymaster", **options}


def failover(sentinel: int) -> bool:
    try:
        return bool(ask(sentinel, "SENTINEL", "FAILOVER", "mymaster"))
    except redis.ResponseError:  # it has not yet heard enough of the replica
        return False


def test_sentinel_and_failover(tmp_path: Path, pair: tuple[int, int]) -> None:
    master, replica = pair
    with redis_sentinel(tmp_path, master) as sentinel:
        host = server(behind(sentinel, free_port(), db=1))
        assert host.name == "sentinel:mymaster/1"
        with closing(host.open(5)) as sock:
            assert sock.getpeername()[1] == master
        wait_until(lambda: failover(sentinel))

        def moved() -> bool:
            try:
                with closing(host.open(5)) as sock:
                    return sock.getpeername()[1] == replica
            except RedisUnavailable:  # in between
                return False

        wait_until(moved)
        assert spoken(host.open(5, [("SET", "a", "b")]), "GET", "a") == b"$1\r\nb\r\n"
        # Fast Channels' spelling of the same
        (other,) = parse_hosts(
            None, sentinels=[("127.0.0.1", sentinel)], service_name="mymaster", connection_kwargs={"db": 1}
        )
        assert spoken(other.open(5), "GET", "a") == b"$1\r\nb\r\n"


def test_sentinel_that_is_behind(tmp_path: Path, pair: tuple[int, int]) -> None:
    _, replica = pair
    with redis_sentinel(tmp_path, replica) as sentinel:
        text = refused(behind(sentinel))
        assert f"Redis at 127.0.0.1:{replica}: it is a slave and no master: a failover is under way" in text


def test_no_right_to_ask_for_the_role(tmp_path: Path, plain: int) -> None:
    with redis_sentinel(tmp_path, plain) as sentinel:
        host = server(behind(sentinel, username="limited", password="secret"))
        assert b"limited" in spoken(host.open(5), "ACL", "WHOAMI")


def test_sentinel_with_a_password(tmp_path: Path, locked: int) -> None:
    lines = ("requirepass guarded", "sentinel auth-pass mymaster secret")
    with redis_sentinel(tmp_path, locked, *lines) as sentinel:
        host = server(behind(sentinel, password="secret", sentinel_kwargs={"password": "guarded"}))
        assert spoken(host.open(5), "PING") == b"+PONG\r\n"
        assert f"Sentinel at 127.0.0.1:{sentinel}: it asks for a password" in refused(
            behind(sentinel, password="secret")
        )
        assert f"Sentinel at 127.0.0.1:{sentinel}: wrong password" in refused(
            behind(sentinel, sentinel_kwargs={"password": "open"})
        )
        assert f"Redis at 127.0.0.1:{locked}: it asks for a password" in refused(
            behind(sentinel, sentinel_kwargs={"password": "guarded"})
        )


def test_sentinel_does_not_know(tmp_path: Path, plain: int) -> None:
    dead = free_port()
    with redis_sentinel(tmp_path, plain) as sentinel:
        host = {**behind(sentinel, dead), "master_name": "other"}
        text = refused(host)
    assert text.startswith("Redis at sentinel:other/0")
    assert f"Sentinel at 127.0.0.1:{dead}: nobody listens there" in text
    assert f"Sentinel at 127.0.0.1:{sentinel}: it knows no master 'other'" in text


def test_the_useful_sentinel_is_asked_first(tmp_path: Path, plain: int) -> None:
    """One that never answers costs its time once, not at every opening."""
    with socket.create_server(("127.0.0.1", 0)) as hole, redis_sentinel(tmp_path, plain) as sentinel:
        host = server(behind(sentinel, hole.getsockname()[1]))
        host.open(1).close()
        hole.accept()[0].close()
        host.open(1).close()
        hole.setblocking(False)
        with pytest.raises(BlockingIOError):
            hole.accept()


def test_loading(tmp_path: Path) -> None:
    """A server that has just started says that it is not ready."""
    with redis_server(tmp_path) as port:
        ask(port, "MSET", *(word for number in range(500) for word in (f"key{number}", "x")))
        ask(port, "SAVE")
    slow = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")  # ten seconds
    with redis_server(tmp_path, *slow) as port:
        assert "it is still loading its data" in refused(("127.0.0.1", port))
