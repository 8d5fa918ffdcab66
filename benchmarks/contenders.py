"""Who is measured: each of our layers, with the peer it is compared to. A new layer is one entry in ``CONTENDERS``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Protocol

# Far above what any workload leaves unread: a layer that drops messages at its capacity would be measured doing less.
CAPACITY = 1_000_000


class Layer(Protocol):
    """What the workloads call; both our layers and their peers have it."""

    async def send(self, channel: str, message: dict[str, Any]) -> None: ...

    async def receive(self, channel: str) -> dict[str, Any]: ...

    async def new_channel(self) -> str: ...

    async def group_add(self, group: str, channel: str) -> None: ...

    async def group_discard(self, group: str, channel: str) -> None: ...

    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...

    async def flush(self) -> None: ...

    async def close(self) -> None: ...


def no_server() -> AbstractContextManager[Mapping[str, Any]]:
    """For layers that need none."""
    return nullcontext({})


@dataclass(frozen=True)
class Contender:
    """One layer as the benchmark builds it. It travels to the process of every round, so it holds no lambda."""

    name: str
    """For people and for ``--layer``."""

    backend: str
    """Dotted path of the class: a round's process imports no other layer."""

    config: Mapping[str, Any] = field(default_factory=lambda: {"capacity": CAPACITY})
    """Keyword arguments of the class."""

    packages: tuple[str, ...] = ()
    """The distributions whose versions belong beside the numbers."""

    shared: bool = False
    """Whether two objects reach each other. If so, sender and receiver are two, as they are in a deployment."""

    server: Callable[[], AbstractContextManager[Mapping[str, Any]]] = no_server
    """Starts what the layer needs, once for the whole run, and yields the keyword arguments that lead there. Two layers
    with the same function share what it starts."""

    peer: Contender | None = None
    """What one would use instead; None for a peer itself."""

    targets: Mapping[str, float] = field(default_factory=dict)
    """Workload -> the ratio to the peer that the project promises."""

    @property
    def is_installed(self) -> bool:
        return find_spec(self.backend.partition(".")[0]) is not None

    def build(self) -> tuple[Layer, Layer]:
        """Sender and receiver."""
        module, _, name = self.backend.rpartition(".")
        layer_class = getattr(importlib.import_module(module), name)
        sender = layer_class(**self.config)
        return sender, layer_class(**self.config) if self.shared else sender


CONTENDERS: tuple[Contender, ...] = (
    Contender(
        name="memory",
        backend="channel_layers.memory.InMemoryChannelLayer",
        packages=("channel_layers",),
        targets={"pingpong": 3, "conc100": 3.5, "fan1000": 80, "idle10k": 800},
        peer=Contender(
            name="channels-memory",
            backend="channels.layers.InMemoryChannelLayer",
            packages=("channels", "asgiref", "Django"),
        ),
    ),
)
