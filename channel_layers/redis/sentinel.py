"""A Redis server whose address Sentinels know.

This is the procedure that Redis documents for its clients: ask the Sentinels in turn, connect to the master that one
names, and look whether it is one. The discovery of redis-py is another: it asks for all masters with ``SENTINEL
MASTERS``, to which the documented rights of a client do not reach, and does not say why a Sentinel gave no answer.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import RedisUnavailable
from .server import Command, Server


class Sentinel(Server):
    """One of the Sentinels."""

    kind = "Sentinel"

    def master(self, timeout: float, master_name: str) -> tuple[str, int]:
        """Where the master is.

        :raises RedisUnavailable: if the Sentinel cannot be asked, or does not know it.
        """
        reply = self.ask(timeout, ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master_name))
        if not reply:
            raise self._away(f"it knows no master {master_name!r}")
        host, port = reply
        return host.decode(), int(port)


class SentinelServer(Server):
    """The server that the Sentinels name as master when it is opened.

    :param name: as for every server; the same after a failover.
    :param master_name: what the Sentinels call it.
    :param sentinels: to be asked in this order, the one that was of use last first.
    :param options: for the connection to the master: all but its address.
    """

    def __init__(
        self, name: str, master_name: str, sentinels: Sequence[Sentinel], options: Mapping[str, Any], address: str = ""
    ) -> None:
        super().__init__(name, options, address)
        self._master_name = master_name
        self._sentinels = tuple(sentinels)
        self._master_options = dict(options)

    def open(self, timeout: float, commands: Sequence[Command] = ()) -> socket.socket:
        """As :meth:`.Server.open`, of the master. ``timeout`` holds for each Sentinel, and for the master."""
        problems: list[RedisUnavailable] = []
        tried = set()
        for sentinel in self._sentinels:
            try:
                where = sentinel.master(timeout, self._master_name)
                if where in tried:  # one of another Sentinel, which may not have seen the failover yet
                    continue
                tried.add(where)
                sock = self._master(*where).open(timeout, commands)
            except RedisUnavailable as error:
                problems.append(error)
            else:
                self._sentinels = (sentinel, *(other for other in self._sentinels if other is not sentinel))
                return sock
        raise self._away("; ".join(map(str, problems))) from problems[-1]

    def _master(self, host: str, port: int) -> Server:
        shown = f"[{host}]" if ":" in host else host
        return _Master(f"{shown}:{port}", {**self._master_options, "host": host, "port": port})


class _Master(Server):
    def _greet(self, connection: Any) -> None:
        """Refuse a replica: a Sentinel may be behind. Where the user has no right to ask, believe it."""
        role = self._allowed(connection, "ROLE")
        if role is not None and role[0] != b"master":
            raise self._away(f"it is a {role[0].decode()} and no master: a failover is under way")
