"""What two layer objects that share one Redis are to do, as a small model."""

from __future__ import annotations

from collections import Counter
from typing import Any

CAPACITY = 3
#: By channel: the layer whose it is; two normal ones.
OWNERS = (0, 0, 1, 1, None, None)


class Side:
    """What the model knows of one layer object."""

    def __init__(self) -> None:
        #: Whether it has begun to read: only then it counts what arrives. Until then that waits on the server.
        self.reads = False
        #: What waits there: (channel, message, whether it was sent directly).
        self.early: list[tuple[int, int, bool]] = []
        #: Direct messages there by channel. A place that discard_channel() frees is free when the owner has read.
        self.counted: Counter[int] = Counter()
        self.frees_when_it_reads = False
        self.accepted = self.refused = self.arrived = self.delivered = 0
        self.dropped: Counter[str] = Counter()


class Model:
    """What is unread, by channel, oldest first; who is a member; what each layer has counted."""

    def __init__(self) -> None:
        self.sides = (Side(), Side())
        self.unread: dict[int, list[tuple[int, bool]]] = {channel: [] for channel in range(6)}
        self.members: dict[int, set[int]] = {0: set(), 1: set()}
        self.number = 0

    def next_message(self) -> dict[str, Any]:
        self.number += 1
        return {"n": self.number}

    def owner(self, channel: int) -> Side | None:
        owner = OWNERS[channel]
        return None if owner is None else self.sides[owner]

    def is_full(self, channel: int) -> bool:
        """Whether a direct send is refused."""
        owner = self.owner(channel)
        if owner is None or owner.reads:
            return len(self.unread[channel]) >= CAPACITY
        return owner.counted[channel] >= CAPACITY

    def holds_group_messages(self, channel: int) -> bool:
        return not all(is_direct for _, is_direct in self.unread[channel])

    def send(self, sender: int, channel: int) -> None:
        if self.is_full(channel):
            self.sides[sender].refused += 1
        else:
            self.sides[sender].accepted += 1
            self.put(self.sides[sender], channel, is_direct=True)

    def put(self, sender: Side, channel: int, *, is_direct: bool) -> None:
        owner = self.owner(channel)
        if owner is None:
            if len(self.unread[channel]) < CAPACITY:
                self.unread[channel].append((self.number, is_direct))
            else:  # who sent it counts it, since it came to nobody
                sender.arrived += 1
                sender.dropped["full"] += 1
        elif owner.reads:
            self.arrive(owner, channel, self.number, is_direct)
        else:
            owner.early.append((channel, self.number, is_direct))
            owner.counted[channel] += is_direct

    def arrive(self, owner: Side, channel: int, number: int, is_direct: bool) -> None:
        owner.arrived += 1
        if len(self.unread[channel]) < CAPACITY:
            self.unread[channel].append((number, is_direct))
        else:
            owner.dropped["full"] += 1

    def start_reading(self, owner: Side) -> None:
        if not owner.reads:
            owner.reads = True
            early, owner.early = owner.early, []
            for channel, number, is_direct in early:
                self.arrive(owner, channel, number, is_direct)
            owner.counted.clear()
            owner.frees_when_it_reads = False

    def take(self, receiver: int, channel: int) -> dict[str, Any]:
        self.sides[receiver].delivered += 1
        if OWNERS[channel] is None:
            self.sides[receiver].arrived += 1
        return {"n": self.unread[channel].pop(0)[0]}

    def group_send(self, sender: int, group: int) -> None:
        self.sides[sender].accepted += 1
        for channel in self.members[group]:
            self.put(self.sides[sender], channel, is_direct=False)

    def drop(self, channel: int, reason: str) -> None:
        owner = self.owner(channel)
        if owner is not None:
            owner.dropped[reason] += len(self.unread[channel])
            owner.early = [each for each in owner.early if each[0] != channel]
            owner.frees_when_it_reads = not owner.reads
        self.unread[channel].clear()

    def discard_channel(self, channel: int) -> None:
        self.drop(channel, "discarded")
        for members in self.members.values():
            members.discard(channel)

    def flush(self) -> None:
        for channel in range(6):
            self.discard_and_count(channel, "flushed")

    def close(self, layer: int) -> None:
        if self.sides[layer].reads:  # what waits on the server for a layer that does not, waits on
            for channel in (2 * layer, 2 * layer + 1):
                self.discard_and_count(channel, "closed")
            self.sides[layer].reads = False

    def discard_and_count(self, channel: int, reason: str) -> None:
        self.drop(channel, reason)
        for members in self.members.values():
            members.discard(channel)
        owner = self.owner(channel)
        if owner is not None:
            owner.counted[channel] = 0

    def unread_of(self, layer: int) -> int:
        return sum(len(self.unread[channel]) for channel in (2 * layer, 2 * layer + 1))

    def statistics(self, layer: int) -> dict[str, Any]:
        side = self.sides[layer]
        return {
            "sent": side.accepted + side.refused,
            "accepted": side.accepted,
            "refused": {"full": side.refused} if side.refused else {},
            "arrived": side.arrived,
            "delivered": side.delivered,
            "dropped": {reason: count for reason, count in side.dropped.items() if count},
            "unread": self.unread_of(layer),
        }
