"""A Redis master with replicas, and the sentinels that watch it, as real processes."""

from __future__ import annotations

import contextlib

from redis_servers import RedisServer, wait_until

# A failover waits for several timeouts in a row, and a sentinel that found its machine too slow pauses for 30 seconds.
FAILOVER_DEADLINE = 60.0


class Sentinel(RedisServer):
    """One sentinel, in more of a hurry than usual. In a file of its folder it notes what it finds out."""

    # Above a second, or it may take a new master for dead before it has connected to it, and fail over again and again.
    DOWN_AFTER = 3_000
    # In milliseconds. Else it takes two seconds to find the others, and a former master remains one for ten.
    PERIODS = ("publish-period", "200", "info-period", "1000", "ping-period", "250")

    def __init__(self, binary: str, master: RedisServer, name: str, quorum: int) -> None:
        super().__init__(binary)
        self._directives = (
            f"sentinel monitor {name} {master.host} {master.port} {quorum}\n"
            f"sentinel down-after-milliseconds {name} {self.DOWN_AFTER}\n"
            f"sentinel failover-timeout {name} 2000\n"
        )

    def _command(self) -> list[str]:
        file = self._folder / "sentinel.conf"
        if not file.exists():
            file.write_text(self._directives, encoding="utf-8")
        return [self.binary, str(file)]

    def _listens_on(self, port: int) -> bool:
        from redis.exceptions import ResponseError

        listens = super()._listens_on(port)
        if listens:
            with contextlib.suppress(ResponseError):  # before 7.0 it has to take its time
                self.client().execute_command("SENTINEL DEBUG", *self.PERIODS)
        return listens


class SentinelTopology:
    """A master, two replicas and three sentinels that all know each other; a context manager."""

    service_name = "main"

    def __init__(self, server_binary: str, sentinel_binary: str) -> None:
        self._binaries = server_binary, sentinel_binary
        self._stack = contextlib.ExitStack()
        self.servers: list[RedisServer] = []
        self.sentinels: list[Sentinel] = []

    def __enter__(self) -> SentinelTopology:
        with contextlib.ExitStack() as stack:
            server_binary, sentinel_binary = self._binaries
            master = stack.enter_context(RedisServer(server_binary))
            self.servers = [master]
            for _ in range(2):
                replica = RedisServer(server_binary, "--replicaof", master.host, str(master.port))
                self.servers.append(stack.enter_context(replica))
            # A sentinel asks the master for its replicas when it starts; the next time can be ten seconds later.
            wait_until(
                lambda: len(master.client().role()[2]) == 2,
                lambda: f"two replicas are online:\n{self.log}",
            )
            for _ in range(3):
                sentinel = Sentinel(sentinel_binary, master, self.service_name, 2)
                stack.enter_context(sentinel)
                self.sentinels.append(sentinel)
            wait_until(
                lambda: all(map(self._is_complete, self.sentinels)),
                lambda: f"all know each other:\n{self.log}",
                FAILOVER_DEADLINE,
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def sentinel_addresses(self) -> list[tuple[str, int]]:
        return [sentinel.address for sentinel in self.sentinels]

    @property
    def master(self) -> RedisServer | None:
        """The one that all sentinels name and that says so itself; None while there is none."""
        named = {self._named_by(sentinel) for sentinel in self.sentinels if sentinel.answers}
        for server in self.servers:
            if named == {server.address} and server.role == "master":
                return server
        return None

    def wait_for_replicas(self) -> None:
        """Until all that was written before is on the replicas, too: what is not, a failover forgets."""
        master = self.wait_for_master()
        master.client().set("written", "last", px=60_000)
        replicas = len(self.servers) - 1
        assert master.client().wait(replicas, int(FAILOVER_DEADLINE * 1000)) == replicas

    def wait_for_master(self, *former: RedisServer) -> RedisServer:
        """The master, as soon as there is one that is none of ``former``."""
        return wait_until(
            lambda: (master := self.master) not in former and master,
            lambda: f"a master other than {former}:\n{self.log}",
            FAILOVER_DEADLINE,
        )

    def kill_master(self) -> RedisServer:
        """Kill the master and return it; after some seconds ``wait_for_master`` has another."""
        master = self.wait_for_master()
        master.kill()
        return master

    def failover(self) -> RedisServer:
        """Have a sentinel put a replica in the master's place, and return the former master.

        That one runs on, and takes itself for the master until the sentinels make a replica of it.
        """
        from redis.exceptions import ResponseError

        former = self.wait_for_master()

        def agrees() -> bool:
            # It refuses for some seconds after another failover.
            with contextlib.suppress(ResponseError):
                return bool(self.sentinels[0].client().sentinel_failover(self.service_name))
            return False

        wait_until(agrees, lambda: f"{self.sentinels[0]} begins a failover:\n{self.log}", FAILOVER_DEADLINE)
        return former

    @property
    def log(self) -> str:
        return "\n".join(f"{server}:\n{server.log}" for server in [*self.servers, *self.sentinels])

    def _named_by(self, sentinel: Sentinel) -> tuple[str, int]:
        # This is what redis-py asks for. It is the last to change: GET-MASTER-ADDR-BY-NAME is ahead of it by a second.
        master = sentinel.client().sentinel_masters()[self.service_name]
        return master["ip"], master["port"]

    def _is_complete(self, sentinel: Sentinel) -> bool:
        """Whether it could manage a failover: it is in touch with all others, and knows the replicas as such."""
        client = sentinel.client()
        replicas = client.sentinel_slaves(self.service_name)
        others = client.sentinel_sentinels(self.service_name)
        return (
            len(replicas) == 2
            and all(replica["flags"] == "slave" and replica["master-link-status"] == "ok" for replica in replicas)
            and len(others) == 2
            and all(other["flags"] == "sentinel" for other in others)
        )
