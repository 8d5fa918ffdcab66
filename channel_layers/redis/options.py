"""Which of redis-py's options a host may have, and what becomes of each."""

from __future__ import annotations

import codecs
import difflib
import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from ..checks import shown
from ..exceptions import InvalidChannelLayerError
from ..extras import require_extra

#: Options that are handed to redis-py's connection, besides all that begin with ``ssl_``.
USED = frozenset({
    "host", "port", "path", "db", "username", "password", "credential_provider", "client_name", "encoding",
    "encoding_errors", "socket_connect_timeout", "socket_timeout", "socket_keepalive", "socket_keepalive_options",
    "socket_type", "ssl",
})  # fmt: skip

#: Options that change nothing, and are accepted since configurations have them: they tune redis-py's pool, its parser,
#: its retries and its health checks, all of which the layers do without. Nothing that sends is ever repeated.
NEEDLESS = frozenset({
    "auto_close_connection_pool", "check_connection", "command_packer", "decode_responses", "driver_info",
    "event_dispatcher", "health_check_interval", "legacy_responses", "lib_name", "lib_version",
    "maint_notifications_config", "max_connections", "parser_class", "protocol", "retry", "retry_on_error",
    "retry_on_timeout", "single_connection_client", "socket_read_size", "timeout",
})  # fmt: skip

#: Options that would have to change something, and cannot.
_REFUSED = {
    "connection_class": "it is chosen by the address: use rediss:// or ssl=True for TLS, unix:// for a socket file",
    "connection_pool": "give the address of the server, not a pool",
    "redis_connect_func": "the layer does the handshake itself; a credential_provider is possible",
    "cache": "the layer has no use for a client-side cache",
    "cache_config": "the layer has no use for a client-side cache",
    "is_master": "a layer writes, so it always asks for the master",
}

# redis-py's own classes say no more than the address does, but for TLS.
_CLASSES = {"Connection", "SSLConnection", "UnixDomainSocketConnection"}

_Check = Callable[[str, str, Any], Any]

_CLUSTER = (
    "Redis Cluster is not supported: give the address of a plain server or of Sentinels, "
    "or several plain servers, over which the layer spreads its channels itself"
)


def checked(where: str, options: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the options that count, with their values checked.

    :param where: which host they belong to, for the errors.
    :raises InvalidChannelLayerError: for one that is unknown, cannot be honoured, or has a bad value.
    """
    result = {}
    for key, value in options.items():
        if not isinstance(key, str):
            raise InvalidChannelLayerError(f"{where}: the name of an option must be a string, not {shown(key)}")
        refuse_cluster(where, key)
        if key == "unix_socket_path":
            key = "path"  # noqa: PLW2901 - the same under the name that redis-py's client has for it
        if key == "connection_class" and _is_redis_py(value):
            if value.__name__ == "SSLConnection":
                result["ssl"] = True
        elif key == "is_master" and value is True:
            continue
        elif key in _REFUSED:
            raise InvalidChannelLayerError(f"{where}: {key} cannot be used: {_REFUSED[key]}")
        elif key not in NEEDLESS:
            _require_known(where, key)
            if key not in _OPTIONAL or value not in (None, ""):
                result[key] = _CHECKS[key](where, key, value) if key in _CHECKS else value
    return result


def refuse_cluster(where: str, word: str) -> None:
    """:raises InvalidChannelLayerError: if an option or the scheme of a URL is about Redis Cluster."""
    if "cluster" in word.lower() or word == "startup_nodes":
        raise InvalidChannelLayerError(f"{where}: {word}: {_CLUSTER}")


def require_port(where: str, value: Any) -> int:
    """Return the port as a number.

    :raises InvalidChannelLayerError: if it is none.
    """
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 5 else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= 65535:
        raise InvalidChannelLayerError(f"{where}: port must be a number from 1 to 65535, not {shown(value)}")
    return number


def require_host(where: str, value: Any) -> str:
    """Return the host name.

    :raises InvalidChannelLayerError: if it is none.
    """
    # Without the value: it may be a whole URL with a password.
    if not isinstance(value, str) or not re.fullmatch(r"[^\s/@:?#]+|[^\s/@?#]*:[^\s/@?#]*:[^\s/@?#]*", value):
        shown = "something else" if isinstance(value, str) else type(value).__name__
        raise InvalidChannelLayerError(f"{where}: host must be a host name or an IP address alone, not {shown}")
    return value


@cache
def connection_parameters() -> frozenset[str]:
    """What the connections of the installed redis-py can be told."""
    module = require_extra("redis.connection", "redis", "a Redis channel layer")
    kinds = (module.Connection, module.SSLConnection, module.UnixDomainSocketConnection)
    makers = {base.__init__ for kind in kinds for base in kind.__mro__ if base is not object}
    return frozenset(name for maker in makers for name in inspect.signature(maker).parameters)


def _is_redis_py(value: Any) -> bool:
    return isinstance(value, type) and value.__module__.startswith("redis.") and value.__name__ in _CLASSES


def _require_known(where: str, key: str) -> None:
    if key not in USED and not key.startswith("ssl_"):
        close = difflib.get_close_matches(key, [*USED, "address", "name", "sentinels", "master_name"], 1, 0.75)
        hint = f"; is {close[0]!r} meant?" if close else ""
        raise InvalidChannelLayerError(f"{where}: unknown option {shown(key)}{hint}")
    if key != "ssl" and key not in connection_parameters():
        version = require_extra("redis", "redis", "a Redis channel layer").__version__
        raise InvalidChannelLayerError(f"{where}: the installed redis-py {version} has no option {key!r}")


def _require_db(where: str, key: str, value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= 9 else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**31:
        raise InvalidChannelLayerError(
            f"{where}: {key} must be the number of a database, 0 or more, not {shown(value)}"
        )
    return number


def _require_seconds(where: str, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InvalidChannelLayerError(f"{where}: {key} must be a number of seconds above 0, not {shown(value)}")
    return value


def _require_codec(where: str, key: str, value: Any) -> str:
    name: str = _require_kind(str)(where, key, value)
    try:
        (codecs.lookup if key == "encoding" else codecs.lookup_error)(name)
    except (LookupError, ValueError):
        raise InvalidChannelLayerError(f"{where}: {key} is unknown to Python: {shown(value)}") from None
    return name


def _require_provider(where: str, key: str, value: Any) -> Any:
    if not callable(getattr(value, "get_credentials", None)):
        raise InvalidChannelLayerError(f"{where}: {key} must have a method get_credentials()")
    return value


def _require_kind(*kinds: type) -> _Check:
    def check(where: str, key: str, value: Any) -> Any:
        if not isinstance(value, kinds):  # without the value: it may be a password, or a URL with one
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise InvalidChannelLayerError(f"{where}: {key} must be {wanted}, not {type(value).__name__}")
        return value

    return check


# For these, None and empty strings mean to redis-py that they are not given. It means something for socket_keepalive,
# socket_keepalive_options and ssl_cert_reqs, so what is not listed is handed on as it is.
_OPTIONAL: dict[str, _Check] = {
    "client_name": _require_kind(str),
    "credential_provider": _require_provider,
    "db": _require_db,
    "encoding": _require_codec,
    "encoding_errors": _require_codec,
    "password": _require_kind(str, bytes),
    "path": _require_kind(str),
    "socket_connect_timeout": _require_seconds,
    "socket_timeout": _require_seconds,
    "username": _require_kind(str),
}
_CHECKS: dict[str, _Check] = {
    "host": lambda where, _, value: require_host(where, value),
    "port": lambda where, _, value: require_port(where, value),
    "ssl": _require_kind(bool),
    **_OPTIONAL,
}
