"""What the comparison knows of a layer: how it is made, where its servers are, and what it does not offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any

from benchmarks.contenders import Contender

ABILITIES = {
    "direct": "sends to one channel by name",
    "normal": "channels on which any process may receive",
    "processes": "reaches other processes",
    "server": "runs on a server that may be restarted",
    "hosts": "spreads over several servers",
    "sentinel": "finds its server through Redis Sentinel",
    "prefix": "has a prefix of its own for each installation",
    "databases": "takes the number of a Redis database",
    "expiry": "lets messages expire",
    "capacity": "has a capacity for unread messages",
    "names": "says which names are legal",
    "types": "says which values a message may hold",
    "limit": "says how large a message may be",
    "loops": "belongs to no particular event loop",
    "notices": "has callbacks for a lost connection",
}
"""What scenarios may need. A layer lists what it lacks, with the reason that the page gives."""


@dataclass(frozen=True)
class Compared(Contender):
    """A layer as the comparison builds it: the benchmark's contender, and what it can."""

    title: str = ""
    """The head of its column."""

    family: str = ""
    """The table it stands in."""

    ours: bool = False

    servers: int = 0
    """How many Redis servers it runs on, where the scenario does not say."""

    cannot: Mapping[str, str] = field(default_factory=dict)
    """Keys of ``ABILITIES`` that it does not have, each with the reason."""

    style: str = "urls"
    """How it is told of its servers: a key of ``STYLES``."""

    plain_style: str = ""
    """The same as in the quick start of its documentation, where that is different."""

    limits: str = ""
    """What its own documentation says that it does not do."""

    library: str = ""
    """For an adapter: the module that it adapts."""

    @property
    def is_installed(self) -> bool:
        return super().is_installed and (not self.library or find_spec(self.library) is not None)

    def lacks(self, needs: tuple[str, ...]) -> str | None:
        """The reason why it cannot do a scenario with these needs; None if it can."""
        return next((self.cannot[need] for need in needs if need in self.cannot), None)

    def leading_to(self, way: Way, *, plain: bool = False) -> Compared:
        """The same with the way to its servers; ``plain``: as in the quick start of its documentation."""
        style = (plain and self.plain_style) or self.style
        return replace(self, config={**self.config, **STYLES[style](way)}) if way.is_somewhere else self


@dataclass(frozen=True)
class Way:
    """What leads to servers: their addresses and a database, or sentinels."""

    addresses: tuple[tuple[str, int], ...] = ()
    database: int = 0
    sentinels: tuple[tuple[str, int], ...] = ()
    master_name: str = ""

    @property
    def is_somewhere(self) -> bool:
        return bool(self.addresses or self.sentinels)

    @property
    def urls(self) -> list[str]:
        return [f"redis://{host}:{port}/{self.database}" for host, port in self.addresses]


def _urls(way: Way) -> dict[str, Any]:
    if way.sentinels:
        return {"hosts": [{"sentinels": list(way.sentinels), "master_name": way.master_name}]}
    if len(way.urls) == 1:
        return {"hosts": way.urls}
    # As the how-to for several servers says: names that stay when an address changes.
    return {"hosts": [{"address": url, "name": f"host-{n}"} for n, url in enumerate(way.urls)]}


def _dicts(way: Way) -> dict[str, Any]:
    """For channels_redis and its kin: they wait in reads of 5 s, and redis-py 8 by default fails a read after 5 s."""
    if way.sentinels:
        host = {"sentinels": list(way.sentinels), "master_name": way.master_name, "socket_timeout": None}
        return {"hosts": [host]}
    hosts = [{"host": host, "port": port, "db": way.database} for host, port in way.addresses]
    return {"hosts": [{**host, "socket_timeout": None} for host in hosts]}


def _plain(way: Way) -> dict[str, Any]:
    return {"hosts": list(way.addresses)}


def _one_url(way: Way) -> dict[str, Any]:
    if way.sentinels:
        return {"sentinels": list(way.sentinels), "master_name": way.master_name}
    return {"url": way.urls[0]}


def _primed_url(way: Way) -> dict[str, Any]:
    return {**_one_url(way), "is_primed": True}


STYLES = {"primed_url": _primed_url, "urls": _urls, "dicts": _dicts, "plain": _plain, "url": _one_url}
