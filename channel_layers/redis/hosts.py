"""The option ``hosts``: every form in which a Redis server can be given, made into a list of servers.

=============================================================  ===========================================
``None``, an empty list                                        ``localhost:6379``
``"redis://user:password@host:6379/0"``                        also ``rediss://``, ``unix:///path?db=0``
``("host", 6379)``
``{"address": <either>, "password": ..., "ssl": True}``        and whatever redis-py's connections take
``{"host": ..., "port": ..., "db": ...}``, ``{"path": ...}``
``{"sentinels": [("host", 26379)], "master_name": ...}``       with ``sentinel_kwargs``, and as above
=============================================================  ===========================================

A dict may have a ``name``, by which channels are spread over the servers; it stays when the server moves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from ..checks import checking, shown
from ..exceptions import InvalidChannelLayerError
from ..extras import require_extra
from .options import checked, refuse_cluster, require_host, require_port
from .sentinel import Sentinel, SentinelServer
from .server import Server

_Kind = TypeVar("_Kind", bound=Server)

_SCHEMES = ("redis", "rediss", "unix")
_WANTED = "a URL, a (host, port) pair or a dict"


def parse_hosts(
    hosts: Any,
    *,
    sentinels: Any = None,
    service_name: Any = None,
    sentinel_kwargs: Any = None,
    connection_kwargs: Any = None,
) -> list[Server]:
    """Make servers of the option ``hosts``.

    The other options are another spelling for one server behind Sentinels; ``hosts`` is ``None`` then.

    :raises InvalidChannelLayerError: naming the host and the option that is wrong, never a password; or if redis-py is
        not installed.
    """
    others = {
        "sentinels": sentinels,
        "service_name": service_name,
        "sentinel_kwargs": sentinel_kwargs,
        "connection_kwargs": connection_kwargs,
    }
    require_extra("redis.connection", "redis", "a Redis channel layer")
    given = [key for key, value in others.items() if value is not None]
    with checking(", ".join(given) or "hosts"):
        servers = _servers(hosts, given, others)
        _require_different(servers)
        return servers


def _servers(hosts: Any, given: list[str], others: dict[str, Any]) -> list[Server]:
    if isinstance(hosts, (list, tuple)) and not hosts:
        hosts = None
    if given:
        if hosts is not None:
            raise InvalidChannelLayerError(
                f"hosts and {given[0]} exclude each other: put what belongs to one host into a dict of hosts"
            )
        options = _options(
            "connection_kwargs", {} if others["connection_kwargs"] is None else others["connection_kwargs"]
        )
        return [
            _behind_sentinels(
                "",
                None,
                options,
                sentinels=others["sentinels"],
                sentinel_kwargs=others["sentinel_kwargs"],
                master_name=others["service_name"],
                master_key="service_name",
            )
        ]
    if hosts is None:
        hosts = [("localhost", 6379)]
    if isinstance(hosts, (list, tuple)) and len(hosts) == 2 and isinstance(hosts[0], str) and _is_port(hosts[1]):
        raise InvalidChannelLayerError("hosts must be a list of hosts, even if there is only one: [(host, port)]")
    if not isinstance(hosts, (list, tuple)):
        raise InvalidChannelLayerError(
            f"hosts must be a list of hosts, even if there is only one, not {type(hosts).__name__}"
        )
    return [_server(f"hosts[{index}]", host) for index, host in enumerate(hosts)]


def _server(where: str, host: Any) -> Server:
    if isinstance(host, Mapping):
        entry = dict(host)
    elif isinstance(host, (str, list, tuple)):
        entry = {"address": host}
    elif hasattr(host, "connection_pool") or hasattr(host, "get_connection") or hasattr(host, "connect"):
        raise InvalidChannelLayerError(
            f"{where} is a {type(host).__name__}: a ready client or pool cannot be used, give {_WANTED}"
        )
    else:
        raise InvalidChannelLayerError(f"{where} must be {_WANTED}, not {type(host).__name__}")
    name = entry.pop("name", None)
    if name is not None and (not isinstance(name, str) or not name):
        raise InvalidChannelLayerError(f"{where}: name must be a string, not {shown(name)}")
    if "sentinels" in entry or "master_name" in entry:
        node = {key: entry.pop(key, None) for key in ("sentinels", "sentinel_kwargs", "master_name")}
        return _behind_sentinels(f"{where}: ", name, _options(where, entry), **node)
    if "sentinel_kwargs" in entry:
        raise InvalidChannelLayerError(f"{where}: sentinel_kwargs needs sentinels and master_name")
    address = _address(where, entry.pop("address")) if "address" in entry else {}
    options = checked(where, entry)
    for key, value in checked(where, address).items():
        if options.setdefault(key, value) != value:
            raise InvalidChannelLayerError(f"{where}: {key} is given twice, in the address and beside it")
    return _at_address(where, name, options)


def _at_address(where: str, name: str | None, options: dict[str, Any]) -> Server:
    if "path" in options:
        for key in ("host", "port", "ssl"):
            if options.get(key):
                raise InvalidChannelLayerError(f"{where}: {key} and a socket file exclude each other")
        address = f"unix:{options['path']}"
    else:
        host = options.setdefault("host", "localhost")
        address = f"{_bracketed(host)}:{options.setdefault('port', 6379)}"
    _require_tls(where, options)
    address += f"/{options.get('db', 0)}"
    return _built(where, Server, name or address, options, address)


def _behind_sentinels(
    prefix: str,
    name: str | None,
    options: dict[str, Any],
    *,
    sentinels: Any,
    sentinel_kwargs: Any,
    master_name: Any,
    master_key: str = "master_name",
) -> Server:
    if not isinstance(sentinels, (list, tuple)) or not sentinels:
        raise InvalidChannelLayerError(f"{prefix}sentinels must be a list of (host, port) pairs")
    if not isinstance(master_name, str) or not master_name or not _is_encodable(master_name):
        raise InvalidChannelLayerError(
            f"{prefix}{master_key} must be the name by which the Sentinels know the master, not {shown(master_name)}"
        )
    where = f"{prefix}sentinel_kwargs"
    common = _options(where, {} if sentinel_kwargs is None else sentinel_kwargs)
    if common.pop("db", 0):  # 0 is what a connection has that is not told
        raise InvalidChannelLayerError(f"{where}: db has no meaning beside sentinels")
    nodes = []
    for index, pair in enumerate(sentinels):
        node = {**common, **_pair(f"{prefix}sentinels[{index}]", pair)}
        nodes.append(_built(where, Sentinel, f"{_bracketed(node['host'])}:{node['port']}", node))
    db = options.get("db", 0)
    where = prefix.removesuffix(": ") or "connection_kwargs"
    address = f"sentinel:{master_name}/{db}"
    listed = ", ".join(sorted(node.name for node in nodes))
    return _built(where, SentinelServer, name or address, master_name, nodes, options, f"{address} by {listed}")


def _options(where: str, options: Any) -> dict[str, Any]:
    """Options for a connection whose address comes from elsewhere."""
    if not isinstance(options, Mapping):
        raise InvalidChannelLayerError(f"{where} must be a dict, not {type(options).__name__}")
    for key in ("address", "host", "port", "path", "unix_socket_path"):
        if key in options:
            raise InvalidChannelLayerError(f"{where}: {key} has no meaning beside sentinels")
    result = checked(where, options)
    _require_tls(where, result)
    return result


def _address(where: str, address: Any) -> dict[str, Any]:
    if isinstance(address, str):
        return _from_url(where, address)
    return _pair(where, address)


def _pair(where: str, pair: Any) -> dict[str, Any]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise InvalidChannelLayerError(f"{where}: the address must be a (host, port) pair, not {_shape(pair)}")
    return {"host": require_host(where, pair[0]), "port": require_port(where, pair[1])}


def _from_url(where: str, url: str) -> dict[str, Any]:
    """What a URL says. Its text is in no error: it may hold a password, even at a place that is not meant for one."""
    scheme, found, _ = url.partition("://")
    if not found or not re.fullmatch(r"[a-z][a-z+.-]*", scheme):
        raise InvalidChannelLayerError(
            f"{where}: the address is no URL: it must begin with redis://, rediss:// or unix://"
        )
    refuse_cluster(where, scheme)
    if scheme not in _SCHEMES:
        hint = "; for Sentinels use a dict with sentinels and master_name" if "sentinel" in scheme else ""
        raise InvalidChannelLayerError(f"{where}: unknown scheme {scheme}://: use redis://, rediss:// or unix://{hint}")
    parts = _split(where, url)
    if scheme == "unix":
        if parts.hostname or not parts.path.strip("/"):
            raise InvalidChannelLayerError(f"{where}: a socket file is given by its full path, unix:///run/redis.sock")
    elif not re.fullmatch(r"/?|/[0-9]{1,9}", parts.path):
        raise InvalidChannelLayerError(f"{where}: what follows the address in the URL must be a database number")
    module = require_extra("redis.connection", "redis", "a Redis channel layer")
    try:
        options: dict[str, Any] = module.parse_url(url)
    except ValueError as error:
        raise InvalidChannelLayerError(f"{where}: {error}") from None
    if scheme != "unix" and parts.path.strip("/") and options["db"] != int(parts.path[1:]):
        raise InvalidChannelLayerError(f"{where}: the URL names two databases")
    return options


def _split(where: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        # An unescaped character of a password ends the part before the host: what is left of the password is taken
        # for a port, the host for something else.
        malformed = parts.port == 0 or bool(parts.fragment) or "@" in parts.path + parts.query.partition("=")[0]
    except ValueError:
        malformed = True
    if malformed:  # outside the except clause: the error of urlsplit shows a part of the password
        raise InvalidChannelLayerError(
            f"{where}: the URL is malformed: in a user name and a password, write / ? # as %2F %3F %23"
        )
    return parts


def _require_tls(where: str, options: Mapping[str, Any]) -> None:
    """Refuse TLS options of a host that is not told to use TLS; with ``ssl=False`` they are left out on purpose."""
    for key in options:
        if key.startswith("ssl_") and "ssl" not in options:
            raise InvalidChannelLayerError(f"{where}: {key} needs ssl=True, or an address that begins with rediss://")


def _built(where: str, kind: type[_Kind], *arguments: Any) -> _Kind:
    try:
        server = kind(*arguments)
    except InvalidChannelLayerError as error:
        raise InvalidChannelLayerError(f"{where}: {error}") from error.__cause__
    if not _is_encodable(server.name):  # it is hashed and sent
        raise InvalidChannelLayerError(f"{where}: its name or its address holds what UTF-8 cannot encode")
    return server


def _is_encodable(text: str) -> bool:
    return text.encode("utf-8", "replace").decode() == text


def _require_different(servers: list[Server]) -> None:
    for index, server in enumerate(servers):
        for before, other in enumerate(servers[:index]):
            if server.address == other.address:
                raise InvalidChannelLayerError(
                    f"hosts[{index}] is the same server as hosts[{before}]: {server.address}"
                )
            if server.name == other.name:
                raise InvalidChannelLayerError(
                    f"hosts[{index}] has the same name as hosts[{before}], {shown(server.name)}: "
                    "give each a name of its own"
                )


def _is_port(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.isdecimal())


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _shape(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, (list, tuple)) else type(value).__name__
