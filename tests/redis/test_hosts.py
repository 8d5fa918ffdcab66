"""Every form of the option ``hosts``, and what is said of the wrong ones. No server is needed."""

from __future__ import annotations

import subprocess
import sys
import traceback
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection

from channel_layers import InvalidChannelLayerError
from channel_layers.redis.hosts import parse_hosts
from channel_layers.redis.options import NEEDLESS
from channel_layers.redis.server import Server

TCP: dict[str, Any] = {"host": "localhost", "port": 6379, "db": 0, "username": None, "password": None}


def connection(server: Server) -> Any:
    """What the server would connect with; it does not connect yet."""
    return server._connection(1)


@pytest.mark.parametrize(
    ("host", "name", "attributes"),
    [
        (("localhost", 6379), "localhost:6379/0", TCP),
        (["10.0.0.1", 6380], "10.0.0.1:6380/0", {"host": "10.0.0.1", "port": 6380}),
        (("localhost", "6380"), "localhost:6380/0", {"port": 6380}),
        (("::1", 6379), "[::1]:6379/0", {"host": "::1"}),
        ("redis://", "localhost:6379/0", TCP),
        ("redis://h", "h:6379/0", {"host": "h", "port": 6379}),
        ("redis://h:1/2", "h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h?db=2", "h:6379/2", {"db": 2}),
        ("redis://h/2?db=2", "h:6379/2", {"db": 2}),
        ("redis://:pw@h", "h:6379/0", {"username": None, "password": "pw"}),
        ("redis://u:p%40%2Fw@h", "h:6379/0", {"username": "u", "password": "p@/w"}),
        ("redis://u:p@w@h", "h:6379/0", {"username": "u", "password": "p@w"}),
        ("redis://h?password=p@w", "h:6379/0", {"password": "p@w"}),
        ("redis://[::1]:1", "[::1]:1/0", {"host": "::1", "port": 1}),
        ("redis://h?client_name=me&max_connections=5", "h:6379/0", {"client_name": "me"}),
        ("redis://h?protocol=3&health_check_interval=9", "h:6379/0", {"protocol": 2, "health_check_interval": 0}),
        ("redis://h?socket_keepalive=no", "h:6379/0", {"socket_keepalive": False}),
        ("unix:///run/r.sock", "unix:/run/r.sock/0", {"path": "/run/r.sock", "db": 0}),
        ("unix://u:pw@/run/r.sock?db=3", "unix:/run/r.sock/3", {"username": "u", "password": "pw", "db": 3}),
        ({"path": "/run/r.sock", "db": 1}, "unix:/run/r.sock/1", {"path": "/run/r.sock", "db": 1}),
        ({"unix_socket_path": "/run/r.sock"}, "unix:/run/r.sock/0", {"path": "/run/r.sock"}),
        ({}, "localhost:6379/0", TCP),
        ({"host": "h"}, "h:6379/0", {"host": "h", "port": 6379}),
        ({"host": "h", "port": 1, "db": "2", "password": b"pw"}, "h:1/2", {"db": 2, "password": b"pw"}),
        ({"host": "h", "username": None, "password": None, "db": None}, "h:6379/0", {**TCP, "host": "h"}),
        ({"host": "h", "password": ""}, "h:6379/0", {"password": None}),
        ({"address": "redis://h/1", "password": "pw"}, "h:6379/1", {"db": 1, "password": "pw"}),
        ({"address": "redis://h/1", "db": 1}, "h:6379/1", {"db": 1}),
        ({"address": ("h", 1), "username": "u", "password": "pw"}, "h:1/0", {"username": "u", "password": "pw"}),
        ({"address": ("h", 1), "name": "shard-1"}, "shard-1", {"host": "h"}),
        ({"host": "h", "ssl": False, "ssl_ca_certs": "ca"}, "h:6379/0", {"host": "h"}),
        ({"host": "h", "connection_class": redis.Connection}, "h:6379/0", {"host": "h"}),
    ],
)
def test_form(host: Any, name: str, attributes: dict[str, Any]) -> None:
    (server,) = parse_hosts([host])
    made = connection(server)
    assert server.name == name
    assert type(made) is (UnixDomainSocketConnection if "path" in attributes or "unix" in name else Connection)
    assert {key: getattr(made, key) for key in attributes} == attributes


@pytest.mark.parametrize(
    ("host", "attributes"),
    [
        ("rediss://h", {"ca_certs": None}),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=no", {"cert_reqs": 0, "check_hostname": False}),
        ({"address": "rediss://h", "ssl": True}, {}),
        ({"address": "redis://h", "ssl": True, "ssl_ca_certs": "ca.pem"}, {"ca_certs": "ca.pem"}),
        ({"address": ("h", 6379), "ssl": True, "ssl_certfile": "c", "ssl_keyfile": "k"}, {"certfile": "c"}),
        ({"address": "rediss://h", "ssl_cert_reqs": None, "ssl_check_hostname": False}, {"cert_reqs": 0}),
        ({"host": "h", "connection_class": redis.SSLConnection}, {}),
        ({"host": "h", "connection_class": redis.asyncio.SSLConnection, "ssl_ca_certs": "c"}, {"ca_certs": "c"}),
    ],
)
def test_tls(host: Any, attributes: dict[str, Any]) -> None:
    (server,) = parse_hosts([host])
    made = connection(server)
    assert server.name == "h:6379/0"
    assert type(made) is SSLConnection
    assert {key: getattr(made, key) for key in attributes} == attributes


@pytest.mark.parametrize("hosts", [None, [], ()])
def test_no_hosts(hosts: Any) -> None:
    """An empty list is what None is, as in channels_redis."""
    assert [server.name for server in parse_hosts(hosts)] == ["localhost:6379/0"]
    (server,) = parse_hosts(hosts, sentinels=[("s", 1)], service_name="m")
    assert server.name == "sentinel:m/0"


def test_several_hosts() -> None:
    hosts = (("h", 1), "redis://h:2", {"address": "redis://h:2/1", "name": "third"})
    assert [server.name for server in parse_hosts(hosts)] == ["h:1/0", "h:2/0", "third"]


def test_hosts_are_not_changed() -> None:
    host = {"address": "redis://h", "name": "one", "password": "pw"}
    parse_hosts([host])
    assert host == {"address": "redis://h", "name": "one", "password": "pw"}


def test_sentinels() -> None:
    host = {
        "sentinels": [("s1", 26379), ["s2", 26380]],
        "master_name": "mymaster",
        "sentinel_kwargs": {"password": "watch", "ssl": True},
        "password": "pw",
        "db": 2,
    }
    for servers in (
        parse_hosts([host]),
        parse_hosts(
            None,
            sentinels=host["sentinels"],
            service_name="mymaster",
            sentinel_kwargs=host["sentinel_kwargs"],
            connection_kwargs={"password": "pw", "db": 2},
        ),
    ):
        (server,) = servers
        assert server.name == "sentinel:mymaster/2"
        assert server.address == "sentinel:mymaster/2 by s1:26379, s2:26380"
        first, second = server._sentinels
        assert (first.name, second.name) == ("s1:26379", "s2:26380")
        assert type(connection(first)) is SSLConnection
        assert connection(first).password == "watch"
        master = connection(server._master("10.0.0.1", 6379))
        assert (master.host, master.port, master.password, master.db) == ("10.0.0.1", 6379, "pw", 2)
    assert [server.name for server in parse_hosts([{**host, "name": "a"}])] == ["a"]


@pytest.mark.parametrize("db", [0, "0", None])
def test_database_of_a_sentinel_that_names_none(db: Any) -> None:
    """Sentinels have no databases; to name the first changes nothing, and configurations do."""
    options = {"db": db, "password": "watch"}
    for (server,) in (
        parse_hosts([{**SENTINEL, "sentinel_kwargs": options}]),
        parse_hosts(None, sentinels=[("s", 1)], service_name="m", sentinel_kwargs=options),
    ):
        (node,) = server._sentinels
        assert (connection(node).db, connection(node).password) == (0, "watch")


def test_two_masters_of_one_name() -> None:
    one = {"sentinels": [("s1", 26379)], "master_name": "mymaster"}
    other = {"sentinels": [("s2", 26379)], "master_name": "mymaster"}
    with pytest.raises(
        InvalidChannelLayerError, match=r"hosts\[1\] has the same name as hosts\[0\], 'sentinel:mymaster/0'"
    ):
        parse_hosts([one, other])
    assert [server.name for server in parse_hosts([one, {**other, "name": "b"}])] == ["sentinel:mymaster/0", "b"]


@pytest.mark.parametrize("key", sorted(NEEDLESS))
def test_needless_option(key: str) -> None:
    assert parse_hosts([{"address": ("h", 1), key: object()}])[0].name == "h:1/0"


@pytest.mark.parametrize(
    ("given", "connect", "step"),
    [
        ({}, 5, 5),
        ({"socket_timeout": 2}, 2, 2),
        ({"socket_timeout": 20}, 5, 5),
        ({"socket_connect_timeout": 1.5}, 1.5, 5),
        ({"socket_connect_timeout": 3, "socket_timeout": 2}, 3, 2),
        ({"socket_connect_timeout": None, "socket_timeout": None}, 5, 5),
    ],
)
def test_time_limits(given: dict[str, Any], connect: float, step: float) -> None:
    for address in ({"host": "h"}, {"path": "/run/r.sock"}):
        made = parse_hosts([{**address, **given}])[0]._connection(5)
        assert (made.socket_connect_timeout, made.socket_timeout) == (connect, step)


SENTINEL = {"sentinels": [("s", 26379)], "master_name": "m"}


@pytest.mark.parametrize(
    ("hosts", "text"),
    [
        ("redis://:secret@h", "hosts must be a list of hosts, even if there is only one, not str"),
        (b"redis://:secret@h", "hosts must be a list of hosts, even if there is only one, not bytes"),
        ({"address": "redis://:secret@h"}, "hosts must be a list of hosts, even if there is only one, not dict"),
        (("localhost", 6379), "hosts must be a list of hosts, even if there is only one: [(host, port)]"),
        (["localhost", "6379"], "hosts must be a list of hosts, even if there is only one: [(host, port)]"),
        (6379, "hosts must be a list"),
        ([("h", 1), None], "hosts[1] must be a URL, a (host, port) pair or a dict, not NoneType"),
        ([b"redis://:secret@h"], "hosts[0] must be a URL, a (host, port) pair or a dict, not bytes"),
        ([("h", 1), ("h", 1)], "hosts[1] is the same server as hosts[0]: h:1/0"),
        (["redis://h:1", {"host": "h", "port": 1, "name": "x"}], "hosts[1] is the same server as hosts[0]: h:1/0"),
        ([{"host": "a", "name": "x"}, {"host": "b", "name": "x"}], "hosts[1] has the same name as hosts[0], 'x'"),
        # pairs
        ([("h",)], "hosts[0]: the address must be a (host, port) pair, not 1 values"),
        ([("h", 1, 2)], "hosts[0]: the address must be a (host, port) pair, not 3 values"),
        ([("h", "abc")], "hosts[0]: port must be a number from 1 to 65535, not 'abc'"),
        ([("h", 0)], "hosts[0]: port must be"),
        ([("h", True)], "hosts[0]: port must be"),
        ([("h", 70000)], "hosts[0]: port must be"),
        ([("h", None)], "hosts[0]: port must be"),
        ([(6379, "h")], "hosts[0]: host must be a host name or an IP address alone, not int"),
        ([("h:6379", 6379)], "hosts[0]: host must be a host name or an IP address alone, not something else"),
        ([("redis://:secret@h", 6379)], "hosts[0]: host must be a host name or an IP address alone"),
        # URLs
        (["localhost:6379"], "hosts[0]: the address is no URL: it must begin with redis://"),
        (["secret@h"], "hosts[0]: the address is no URL"),
        (["http://u:secret@h"], "hosts[0]: unknown scheme http://: use redis://, rediss:// or unix://"),
        (["redis+cluster://h"], "hosts[0]: redis+cluster: Redis Cluster is not supported"),
        (["redis+sentinel://h"], "for Sentinels use a dict with sentinels and master_name"),
        (["redis://:secret@h:abc"], "hosts[0]: the URL is malformed"),
        (["redis://:sec#ret@h"], "hosts[0]: the URL is malformed: in a user name and a password"),
        (["redis://:sec/ret@h"], "hosts[0]: the URL is malformed"),
        (["redis://:12/ret@h"], "hosts[0]: the URL is malformed"),
        (["redis://:12?ret@h"], "hosts[0]: the URL is malformed"),
        (["redis://[::1"], "hosts[0]: the URL is malformed"),
        (["redis://h/zero"], "hosts[0]: what follows the address in the URL must be a database number"),
        (["redis://h/0/1"], "hosts[0]: what follows the address in the URL must be a database number"),
        (["redis://h/1?db=2"], "hosts[0]: the URL names two databases"),
        (["redis://h?db=x"], "hosts[0]: Invalid value for"),
        (["redis://h?foo=1"], "hosts[0]: unknown option 'foo'"),
        (["redis://h?ssl_ca_certs=ca"], "hosts[0]: ssl_ca_certs needs ssl=True"),
        (["unix://run/redis.sock"], "hosts[0]: a socket file is given by its full path, unix:///run/redis.sock"),
        (["unix://"], "hosts[0]: a socket file is given by its full path"),
        # dicts
        ([{"address": "h"}], "hosts[0]: the address is no URL"),
        ([{"address": 5}], "hosts[0]: the address must be a (host, port) pair, not int"),
        ([{"adress": ("h", 1)}], "hosts[0]: unknown option 'adress'; is 'address' meant?"),
        ([{"host": "h", "passwrd": "secret"}], "hosts[0]: unknown option 'passwrd'; is 'password' meant?"),
        ([{"host": "h", 5: 1}], "hosts[0]: the name of an option must be a string, not 5"),
        ([{"host": "h", "name": 5}], "hosts[0]: name must be a string, not 5"),
        ([{"host": "h", "name": ""}], "hosts[0]: name must be a string"),
        ([{"host": None}], "hosts[0]: host must be"),
        ([{"host": "h", "db": -1}], "hosts[0]: db must be the number of a database, 0 or more, not -1"),
        ([{"host": "h", "db": "x"}], "hosts[0]: db must be"),
        ([{"host": "h", "password": ["secret"]}], "hosts[0]: password must be str or bytes, not list"),
        ([{"host": "h", "username": b"u"}], "hosts[0]: username must be str, not bytes"),
        ([{"host": "h", "ssl": "true"}], "hosts[0]: ssl must be bool, not str"),
        ([{"host": "h", "socket_timeout": "5"}], "hosts[0]: socket_timeout must be a number of seconds above 0"),
        ([{"host": "h", "socket_connect_timeout": 0}], "hosts[0]: socket_connect_timeout must be a number of seconds"),
        ([{"host": "h", "credential_provider": "secret"}], "hosts[0]: credential_provider must have a method"),
        ([{"host": "h", "ssl_ca_certs": "ca"}], "hosts[0]: ssl_ca_certs needs ssl=True"),
        ([{"host": "h", "ssl": True, "ssl_new": 1}], "has no option 'ssl_new'"),
        (
            [{"host": "h", "ssl": True, "ssl_cert_reqs": "maybe"}],
            "hosts[0]: Redis at h:6379/0: Invalid SSL Certificate",
        ),
        ([{"address": "redis://h/1", "db": 2}], "hosts[0]: db is given twice, in the address and beside it"),
        ([{"address": "redis://:secret@h", "password": "x"}], "hosts[0]: password is given twice"),
        ([{"address": "rediss://h", "ssl": False}], "hosts[0]: ssl is given twice"),
        ([{"address": "unix:///r.sock", "ssl": True}], "hosts[0]: ssl and a socket file exclude each other"),
        ([{"path": "/r.sock", "host": "h"}], "hosts[0]: host and a socket file exclude each other"),
        ([{"host": "h", "cluster": True}], "hosts[0]: cluster: Redis Cluster is not supported"),
        ([{"startup_nodes": []}], "hosts[0]: startup_nodes: Redis Cluster is not supported"),
        ([{"host": "h", "connection_class": object}], "hosts[0]: connection_class cannot be used: it is chosen by"),
        ([{"host": "h", "connection_pool": 1}], "hosts[0]: connection_pool cannot be used"),
        ([{"host": "h", "redis_connect_func": print}], "hosts[0]: redis_connect_func cannot be used"),
        # Sentinels
        ([{"sentinels": [("s", 1)]}], "hosts[0]: master_name must be the name by which the Sentinels know the master"),
        ([{"master_name": "m"}], "hosts[0]: sentinels must be a list of (host, port) pairs"),
        ([{**SENTINEL, "sentinels": "s:1"}], "hosts[0]: sentinels must be a list of (host, port) pairs"),
        ([{**SENTINEL, "sentinels": []}], "hosts[0]: sentinels must be a list of (host, port) pairs"),
        (
            [{**SENTINEL, "sentinels": ["s:1"]}],
            "hosts[0]: sentinels[0]: the address must be a (host, port) pair, not str",
        ),
        ([{**SENTINEL, "sentinels": [("s", 1), ("s", "x")]}], "hosts[0]: sentinels[1]: port must be"),
        ([{**SENTINEL, "host": "h"}], "hosts[0]: host has no meaning beside sentinels"),
        ([{**SENTINEL, "address": "redis://:secret@h"}], "hosts[0]: address has no meaning beside sentinels"),
        ([{**SENTINEL, "sentinel_kwargs": "x"}], "hosts[0]: sentinel_kwargs must be a dict, not str"),
        ([{**SENTINEL, "sentinel_kwargs": {"passwd": 1}}], "hosts[0]: sentinel_kwargs: unknown option 'passwd'"),
        ([{**SENTINEL, "sentinel_kwargs": {"db": 1}}], "hosts[0]: sentinel_kwargs: db has no meaning beside sentinels"),
        ([{**SENTINEL, "sentinel_kwargs": {"db": "2"}}], "sentinel_kwargs: db has no meaning beside sentinels"),
        ([{**SENTINEL, "sentinel_kwargs": {"db": -1}}], "hosts[0]: sentinel_kwargs: db must be the number of a"),
        ([{**SENTINEL, "is_master": False}], "hosts[0]: is_master cannot be used: a layer writes"),
        ([{"host": "h", "sentinel_kwargs": {}}], "hosts[0]: sentinel_kwargs needs sentinels and master_name"),
    ],
)
def test_bad_form(hosts: Any, text: str) -> None:
    with pytest.raises(InvalidChannelLayerError) as caught:
        parse_hosts(hosts)
    assert text in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value)[-1:]) + str(caught.value.__cause__)
    assert "secret" not in shown
    assert "sec" not in shown.replace("seconds", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hosts": [("h", 1)], "sentinels": [("s", 1)]}, "hosts and sentinels exclude each other"),
        ({"hosts": [("h", 1)], "connection_kwargs": {"db": 1}}, "hosts and connection_kwargs exclude each other"),
        ({"sentinels": [("s", 1)]}, "service_name must be the name by which the Sentinels know the master, not None"),
        ({"service_name": "m"}, "sentinels must be a list of (host, port) pairs"),
        ({"connection_kwargs": {"db": 1}}, "sentinels must be a list of (host, port) pairs"),
        ({"sentinels": [("s", "x")], "service_name": "m"}, "sentinels[0]: port must be"),
        ({"sentinels": [("s", 1)], "service_name": "m", "connection_kwargs": 5}, "connection_kwargs must be a dict"),
        (
            {"sentinels": [("s", 1)], "service_name": "m", "connection_kwargs": {"dbb": 1}},
            "connection_kwargs: unknown option 'dbb'",
        ),
        (
            {"sentinels": [("s", 1)], "service_name": "m", "sentinel_kwargs": {"host": "h"}},
            "sentinel_kwargs: host has no meaning beside sentinels",
        ),
    ],
)
def test_bad_form_of_the_other_spelling(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidChannelLayerError) as caught:
        parse_hosts(options.pop("hosts", None), **options)
    assert str(caught.value).startswith(text)


def test_ready_clients() -> None:
    with redis.Redis(port=1) as client:
        for ready in (client, client.connection_pool, redis.Connection()):
            with pytest.raises(InvalidChannelLayerError, match=r"hosts\[0\] is a \w+: a ready client or pool"):
                parse_hosts([ready])


def test_no_password_in_any_text() -> None:
    (server,) = parse_hosts([{"address": "redis://user:secret@h", "name": "one"}])
    assert "secret" not in f"{server.name} {server!r} {server.label} {server.address}"


def test_without_redis_py() -> None:
    """The modules import; building says what to install."""
    program = """
import sys
sys.modules.update(dict.fromkeys(["redis", "redis.connection", "redis.exceptions"]))
from channel_layers import InvalidChannelLayerError, LayerUnavailable
from channel_layers.redis.errors import RedisUnavailable, reason
from channel_layers.redis.hosts import parse_hosts
assert issubclass(RedisUnavailable, LayerUnavailable)
assert repr(RedisUnavailable("text")) == "RedisUnavailable('text')"
assert "refused" in reason(ConnectionRefusedError())
try:
    parse_hosts(None)
except InvalidChannelLayerError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "pip install 'channel_layers[redis]'" in run.stdout
