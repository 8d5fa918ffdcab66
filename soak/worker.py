"""One process: actors that send, join, leave and close, and a receiver for each channel.

It does what the run tells it over a pipe: ``act`` for a while, ``settle``, send each ``probe``, say what it ``got``.
Every choice comes from the seed; the clock alone is free.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import random
import resource
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from asgiref.sync import async_to_sync

from channel_layers import ChannelFull, LayerClosed, LayerUnavailable
from soak.checks import Order, problem_with_counts

#: Channels of a process, at the most; groups whose members one process alone changes.
CHANNELS, GROUPS = 12, 3

#: Normal channels, for which all processes compete.
JOBS = ("jobs0", "jobs1")

#: Seconds after which something that must happen counts as never happening.
DEADLINE = float(os.environ.get("SOAK_DEADLINE", "30"))

_ACTORS = 3


class Sender:
    """Numbers what one actor sends."""

    def __init__(self, name: str) -> None:
        self._name, self._lives, self._count = name, 0, 0

    def begin_anew(self) -> None:
        """Be somebody else: what was under way when a layer was closed may come after what is sent now."""
        self._lives += 1

    def message(self, lane: str) -> dict[str, Any]:
        self._count += 1
        return {"type": "soak", "by": f"{self._name}.{self._lives}", "lane": lane, "n": self._count, "text": "x" * 100}


class Worker:
    """A process and its layer."""

    def __init__(self, name: str, backend: str, options: dict[str, Any]) -> None:
        module, _, kind = backend.rpartition(".")
        self._name = name
        self._layer = getattr(importlib.import_module(module), kind)(**options)
        self._groups = [f"group.{name}.{n}" for n in range(GROUPS)]
        self._receivers: dict[str, asyncio.Task[None]] = {}
        # What its own groups should have as members, and of which nobody can know whether they do.
        self._memberships: dict[tuple[str, str], bool] = {}
        self._doubtful: set[tuple[str, str]] = set()
        self._changed: set[tuple[str, str]] = set()
        # Own channels that are no more, and that others may still send to.
        self._ended: list[str] = []
        self._others: list[str] = []
        self._all_groups: list[str] = []
        self._senders = [Sender(f"{name}.{n}") for n in range(_ACTORS + 1)]
        self._is_acting = False
        self._acting: list[asyncio.Task[None]] = []
        self._thread: threading.Thread | None = None
        self._probes: list[tuple[str, str]] = []
        self._taken: list[tuple[str, str, int]] = []
        self._problems: list[str] = []
        self._impatience = random.Random(name)

    async def serve(self, pipe: Connection) -> None:
        for channel in JOBS:
            self._receivers[channel] = asyncio.create_task(self._receive(channel))
        await self._open()
        pipe.send(self._report())
        with suppress(EOFError):
            while (command := await asyncio.to_thread(pipe.recv))[0] != "end":
                verb, *arguments = command
                answer = getattr(self, verb)(*arguments)
                pipe.send(await answer if asyncio.iscoroutine(answer) else answer)
        await self._layer.close()

    # Acting

    def act(self, seed: str, others: list[str], groups: list[str]) -> None:
        """Be wild until :meth:`settle`."""
        self._others, self._all_groups = others, groups
        self._changed.clear()
        self._is_acting = True
        self._acting = [
            asyncio.create_task(self._go_on(sender, random.Random(f"{seed} {n}"), is_first=n == 0))
            for n, sender in enumerate(self._senders[:_ACTORS])
        ]
        self._thread = threading.Thread(target=self._go_on_in_a_thread, args=(random.Random(f"{seed} thread"),))
        self._thread.start()

    async def _go_on(self, sender: Sender, chance: random.Random, is_first: bool) -> None:
        while self._is_acting:
            await self._bear(self._step(sender, chance, is_first))

    async def _bear(self, work: Awaitable[None]) -> bool:
        """Whether something was done that may fail in the ways that the specification names."""
        try:
            await work
        except (ChannelFull, LayerUnavailable, LayerClosed):
            return False
        except Exception as error:
            self._problems.append(f"{self._name}: {error!r}")
            return False
        return True

    async def _step(self, sender: Sender, chance: random.Random, is_first: bool) -> None:
        draw = chance.random()
        if draw < 0.4:
            await self._layer.send(self._any_channel(chance), sender.message("direct"))
        elif draw < 0.6:
            group = chance.choice(self._all_groups)
            await self._layer.group_send(group, sender.message(group))
        elif draw < 0.7:
            await self._layer.send(chance.choice(JOBS), sender.message("direct"))
        elif not is_first or draw < 0.8:
            await asyncio.sleep(chance.uniform(0, 0.02))
        elif draw < 0.93:
            group, channel = chance.choice(self._groups), chance.choice([*JOBS, self._any_channel(chance)])
            await self._change(group, channel, chance.random() < 0.6)
        elif draw < 0.98:
            await self._open()
        elif draw < 0.995:
            await self._end(chance)
        else:
            await self._reopen()

    def _any_channel(self, chance: random.Random) -> str:
        return chance.choice([*self._others, *self._own()])

    def _own(self) -> list[str]:
        return [channel for channel in self._receivers if channel not in JOBS]

    async def _change(self, group: str, channel: str, is_member: bool) -> None:
        """Let a channel, of whatever process, join or leave a group that only this process changes."""
        membership = group, channel
        self._doubtful.add(membership)
        self._changed.add(membership)
        self._memberships[membership] = is_member
        await (self._layer.group_add if is_member else self._layer.group_discard)(group, channel)
        self._doubtful.discard(membership)

    async def _open(self) -> None:
        if len(self._receivers) < CHANNELS:
            channel = await self._layer.new_channel()
            self._receivers[channel] = asyncio.create_task(self._receive(channel))

    async def _end(self, chance: random.Random) -> None:
        if own := self._own():
            channel = chance.choice(own)
            receiver = self._receivers.pop(channel)
            receiver.cancel()
            await asyncio.wait({receiver})
            self._ended.append(channel)
            await self._layer.discard_channel(channel)

    async def _reopen(self) -> None:
        """Close the layer: all that receives from it ends, and the next verb begins afresh."""
        receivers, self._receivers = self._receivers, {}
        try:
            await self._layer.close()
        finally:
            for sender in self._senders:
                sender.begin_anew()
            for receiver in receivers.values():  # one may have begun to wait again just afterwards
                receiver.cancel()
            await asyncio.wait(receivers.values())
            self._ended += receivers
            for channel in JOBS:
                self._receivers[channel] = asyncio.create_task(self._receive(channel))

    def _go_on_in_a_thread(self, chance: random.Random) -> None:
        sender = self._senders[_ACTORS]
        while self._is_acting:
            send, channel = self._layer.send, self._any_channel(chance)
            try:
                async_to_sync(send)(channel, sender.message("direct"))
            except (ChannelFull, LayerUnavailable, LayerClosed):
                pass
            except Exception as error:
                self._problems.append(f"{self._name}, in a thread: {error!r}")
            time.sleep(chance.uniform(0, 0.02))

    # Receiving

    async def _receive(self, channel: str) -> None:
        order = Order()
        while True:
            receiving = asyncio.ensure_future(self._layer.receive(channel))
            patience = self._impatience.choice((0.0, 0.001, 0.05, None)) if self._is_acting else None
            try:
                await asyncio.wait({receiving}, timeout=patience)
            finally:
                receiving.cancel()
            await asyncio.wait({receiving})
            if receiving.cancelled():
                continue
            try:
                message = receiving.result()
            except LayerClosed:
                return
            except Exception as error:
                self._problems.append(f"{self._name}: receive({channel!r}): {error!r}")
                return
            self._take(channel, message, order)

    def _take(self, channel: str, message: dict[str, Any], order: Order) -> None:
        if message["type"] == "probe":
            self._probes.append((channel, message["probe"]))
        elif channel in JOBS:
            self._taken.append((channel, message["by"], message["n"]))
        elif (problem := order.problem_with(channel, message)) is not None:
            self._problems.append(f"{self._name}: {problem}")

    # Settling

    async def stop(self) -> dict[str, Any]:
        """Act no more."""
        self._is_acting = False
        if self._acting:
            await self._must_end(asyncio.wait(self._acting), "actors do not return")
        if self._thread is not None:
            await self._must_end(asyncio.to_thread(self._thread.join), "a thread does not return")
        return self._report()

    async def settle(self, living: list[str], has_forgotten: bool) -> dict[str, Any]:
        """Be sure of everything again, when nobody acts any more.

        :param living: the channels that there are.
        :param has_forgotten: a server has lost its memory, and so perhaps what was changed since.
        """
        if has_forgotten:
            self._doubtful |= self._changed
            self._doubtful |= {membership for membership in self._memberships if membership[1] in JOBS}
        alive = {*living, *JOBS}
        self._memberships = {key: value for key, value in self._memberships.items() if key[1] in alive}
        for membership in [each for each in self._doubtful if each in self._memberships]:
            await self._must_end(self._insist(membership), f"{membership} cannot be changed")
        self._doubtful.clear()
        ended, self._ended = self._ended, []
        for channel in ended:
            if channel not in JOBS:
                await self._must_end(self._layer.discard_channel(channel), f"{channel} cannot be discarded")
        await self._must_end(self._read_all(), f"{self._layer.statistics()}: not everything is read")
        return self._report()

    async def _must_end(self, work: Awaitable[Any], otherwise: str) -> None:
        try:
            await asyncio.wait_for(work, DEADLINE)
        except asyncio.TimeoutError:
            self._problems.append(f"{self._name}: {otherwise} within {DEADLINE:g} s")

    async def _insist(self, membership: tuple[str, str]) -> None:
        while not await self._bear(self._change(*membership, self._memberships[membership])):
            await asyncio.sleep(0.1)  # the server may be coming back

    async def _read_all(self) -> None:
        for task in self._receivers.values():
            if task.done():
                self._problems.append(f"{self._name}: a receiver has ended: {task!r}")
        while self._layer.statistics().unread:
            await asyncio.sleep(0.01)

    def _report(self) -> dict[str, Any]:
        problem = problem_with_counts(self._layer.statistics())
        problems, self._problems = self._problems + ([f"{self._name}: {problem}"] if problem else []), []
        taken, self._taken = self._taken, []
        self._probes = []
        unit = 1 if sys.platform == "darwin" else 1024
        return {
            "channels": self._own(),
            "groups": self._groups,
            "members": [membership for membership, is_member in self._memberships.items() if is_member],
            "problems": problems,
            "taken": taken,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        }

    # Probing, while nobody acts

    async def probe(self, sends: list[tuple[str, str, str]]) -> list[str]:
        """Send each probe ``(verb, name, probe)`` once; what was wrong."""
        for verb, name, text in sends:
            await self._must_end(
                self._send_probe(getattr(self._layer, verb), name, text), f"{verb} to {name} is refused"
            )
        problems, self._problems = self._problems, []
        return problems

    async def _send_probe(self, send: Callable[[str, dict[str, Any]], Awaitable[None]], name: str, text: str) -> None:
        while True:
            try:
                return await send(name, {"type": "probe", "probe": text})
            except ChannelFull:
                await asyncio.sleep(0.01)
            except Exception as error:
                self._problems.append(f"{self._name}: {error!r}")
                return None

    def got(self) -> list[tuple[str, str]]:
        """The probes that have come, and where."""
        return list(self._probes)


def main(pipe: Connection, name: str, backend: str, options: dict[str, Any]) -> None:
    """What the process runs."""
    logging.getLogger("channel_layers").setLevel(logging.ERROR)  # what fails is meant to
    asyncio.run(Worker(name, backend, options).serve(pipe))
