"""A Redis server: where it is, and how one gets a connected socket to it.

redis-py connects: addresses, TLS, logging in, choosing the database. Once that is done the socket is taken away from
its connection, since what follows (pipelining within one loop iteration) is not a thing that redis-py does. Of what is
private there one attribute is used, ``_sock``.
"""

from __future__ import annotations

import os
import socket
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..exceptions import InvalidChannelLayerError
from ..extras import require_extra
from .errors import RedisUnavailable, reason
from .options import connection_parameters

Command = Sequence["bytes | str"]

# An idle connection whose peer is gone without a word is noticed after 30 + 3 * 5 seconds. redis-py 8 does the same by
# itself; before, the system's two hours would hold.
_KEEPALIVE = {
    getattr(socket, name): seconds
    for name, seconds in (
        ("TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE", 30),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
}

_GROUPS = frozenset({"SCRIPT", "CLIENT", "SENTINEL"})  # commands whose second word belongs to the name


class Server:
    """A server at one address.

    :param name: stable name of the server, by which channels are spread over several; without secrets.
    :param options: for redis-py's connection, as :func:`.options.checked` returns them: ``host`` and ``port``, or
        ``path``; ``ssl`` for TLS.
    :param address: where it is, for the errors, if the name does not say it.
    :raises InvalidChannelLayerError: if redis-py does not accept the options, or is not installed.
    """

    #: What kind of server it is, for the errors.
    kind = "Redis"

    def __init__(self, name: str, options: Mapping[str, Any], address: str = "") -> None:
        self.name = name
        self.address = address or name
        self.label = name if self.address == name else f"{name} ({self.address})"
        #: Number of the database.
        self.database = int(options.get("db") or 0)
        self._connect_timeout = options.get("socket_connect_timeout", options.get("socket_timeout"))
        self._step_timeout = options.get("socket_timeout")
        self._user = options.get("username")
        self._errors: Any = require_extra("redis.exceptions", "redis", "a Redis channel layer")
        self._connection_class, self._options = _for_redis_py(options)
        try:
            self._connection(1)
        except Exception as error:
            raise InvalidChannelLayerError(f"{self.kind} at {self.label}: {error}") from error

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.label}>"

    def open(self, timeout: float, commands: Sequence[Command] = ()) -> socket.socket:
        """Connect, log in, choose the database and run ``commands``; return the socket, which is the caller's now.

        This blocks: call it in a thread. The socket does not block, and no byte waits on it. With TLS it is an
        ``ssl.SSLSocket``: ``recv`` and ``send`` then raise ``SSLWantReadError`` or ``SSLWantWriteError`` instead of
        ``BlockingIOError``, either of them in either direction; and since it decrypts whole records, ``recv`` has to
        be repeated until it raises, a selector does not know of what is decrypted and not yet read.

        :param timeout: seconds for connecting, for each address of the host name, and for each step that follows. The
            host's own ``socket_connect_timeout`` and ``socket_timeout`` shorten them and never make them longer; after
            the handshake they mean nothing. The system's search for the host name has no limit of ours.
        :param commands: sent in one write; the replies are read and, but for errors, dropped.
        :raises RedisUnavailable: saying which server, and why; ``__cause__`` holds what redis-py or the socket raised.
        """
        with self._session(timeout) as connection:
            self._greet(connection)
            self._run(connection, commands)
            sock: socket.socket = connection._sock
            _handed_over.add(sock)
            connection._sock = None  # otherwise it is closed with the connection, which nobody keeps
        sock.setblocking(False)
        return sock

    def ask(self, timeout: float, command: Command) -> Any:
        """Connect, send one command, and return its reply as redis-py parses it.

        :raises RedisUnavailable: as :meth:`open` does.
        """
        with self._session(timeout) as connection:
            return self._run(connection, [command])[0]

    def _greet(self, connection: Any) -> None:
        """One round trip: without it a server that never answers, or has no place left, seems to be there."""
        self._allowed(connection, "PING")

    def _allowed(self, connection: Any, *command: str) -> Any:
        """The reply, or ``None`` if the user has no right to the command; the server is there, then, too."""
        connection.send_command(*command, check_health=False)
        try:
            return connection.read_response(disable_decoding=True)
        except self._errors.NoPermissionError:
            return None

    def _run(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        replies = []
        for command in commands:
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except self._errors.ResponseError as error:
                raise self._unavailable(error, f"{_title(command)}: ") from error
        return replies

    @contextmanager
    def _session(self, timeout: float) -> Iterator[Any]:
        connection = self._connection(timeout)
        _open.add(connection)
        try:
            connection.connect()
            yield connection
        except RedisUnavailable:
            raise
        except Exception as error:  # of redis-py, of the socket, a ValueError of ssl
            raise self._unavailable(error) from error
        finally:
            connection.disconnect()  # does nothing to a socket that was taken away
            _open.discard(connection)

    def _connection(self, timeout: float) -> Any:
        connection = self._connection_class(
            socket_connect_timeout=min(timeout, self._connect_timeout or timeout), **self._options
        )
        connection.socket_timeout = min(timeout, self._step_timeout or timeout)  # redis-py 5.0 forgets an argument
        return connection

    def _unavailable(self, error: BaseException, step: str = "") -> RedisUnavailable:
        # A server that does not know a command repeats the arguments, and those of AUTH are secret.
        text, found, _ = str(error).partition(", with args beginning with")
        if found:
            error.args = (text,)
        return self._away(step + reason(error, self._user))

    def _away(self, problem: str) -> RedisUnavailable:
        return RedisUnavailable(f"{self.kind} at {self.label}: {problem}")


#: Connections of redis-py that some thread is at work with, and the sockets that were taken away from others.
_open: set[Any] = set()
_handed_over: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _leave_them_to_the_parent() -> None:
    """After fork() they are the parent's. A server would not see their end, otherwise, before that of the child."""
    for sock in (*(connection._sock for connection in _open), *_handed_over):
        if sock is not None:
            sock.close()
    _open.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_leave_them_to_the_parent)


def _for_redis_py(options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The class of redis-py's connection, and what it is always told."""
    module = require_extra("redis.connection", "redis", "a Redis channel layer")
    given = {key: value for key, value in options.items() if key not in ("socket_timeout", "socket_connect_timeout")}
    tls = given.pop("ssl", False)
    if not tls:
        given = {key: value for key, value in given.items() if not key.startswith("ssl_")}
    if "path" in given:
        kind = module.UnixDomainSocketConnection
    else:
        kind = module.SSLConnection if tls else module.Connection
        given = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE, **given}
    # RESP2, whatever this version prefers. No CLIENT SETINFO, to which the user may have no right.
    fixed: dict[str, Any] = {"protocol": 2}
    if "driver_info" in connection_parameters():  # beside it, the two others are deprecated
        fixed["driver_info"] = None
    else:
        fixed |= {"lib_name": None, "lib_version": None}
    return kind, given | {key: value for key, value in fixed.items() if key in connection_parameters()}


def _title(command: Command) -> str:
    """The name of a command, without its arguments."""
    words = [word if isinstance(word, str) else word.decode(errors="replace") for word in command[:2]]
    return " ".join(words if words[0].upper() in _GROUPS else words[:1])
