"""One round in a process of its own: no cache, heap or import of another layer helps or hinders it."""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeVar

from benchmarks.across import ACROSS, Across
from benchmarks.contenders import Contender
from benchmarks.errors import WrongResultError
from benchmarks.line import Line
from benchmarks.partner import partner
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import INSIDE

Result = TypeVar("Result")


def in_own_process(work: Callable[..., Awaitable[Result]], *arguments: object, deadline: float) -> Result:
    """What ``work(*arguments)`` returns in a new process. Raises WrongResultError if that takes too long."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_run, work, arguments, deadline).result()


def _run(work: Callable[..., Awaitable[Result]], arguments: tuple[object, ...], deadline: float) -> Result:
    # A layer that never yields to the loop cannot be timed out from within: show where it hangs, end the process.
    faulthandler.dump_traceback_later(deadline + 30, exit=True)
    try:
        return asyncio.run(_in_time(work(*arguments), deadline))
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _in_time(work: Awaitable[Result], deadline: float) -> Result:
    try:
        return await asyncio.wait_for(work, deadline)
    except asyncio.TimeoutError:
        reason = f"not finished after {deadline:g} s: a message was lost, or its receiver was not woken"
        raise WrongResultError(reason) from None


@dataclass(frozen=True)
class Round:
    """What the process is told."""

    contender: Contender
    workload: str
    seconds: float
    deadline: float

    def run(self) -> dict[str, float]:
        """Every figure by its name. Raises WrongResultError if the layer lost, changed or repeated a message."""
        measure = self._measure_across if self.workload in ACROSS else self._measure_inside
        try:
            return in_own_process(measure, deadline=self.deadline)
        except WrongResultError as problem:
            raise WrongResultError(f"{self.contender.name}, {self.workload}: {problem}") from None

    async def _measure_inside(self) -> dict[str, float]:
        sender, receiver = self.contender.build()
        watch = Stopwatch(self.seconds)
        try:
            await INSIDE[self.workload](sender, receiver, watch)
        finally:
            await sender.flush()  # a server would keep the messages for the next round
            await self.contender.close(sender)
            if receiver is not sender:
                await self.contender.close(receiver)
        return {self.workload: watch.rate}

    async def _measure_across(self) -> dict[str, float]:
        workload = ACROSS[self.workload]
        contender = self.contender.inheriting()
        sender = contender.make()
        try:
            async with AsyncExitStack() as stack:
                receivers = (
                    partner(_receive, contender, workload, deadline=self.deadline) for _ in range(workload.receivers)
                )
                lines = [await stack.enter_async_context(receiver) for receiver in receivers]
                return await workload.send(sender, lines, Stopwatch(self.seconds))
        finally:
            await sender.flush()
            await self.contender.close(sender)


async def _receive(line: Line, contender: Contender, workload: Across) -> None:
    receiver = contender.make()
    try:
        await workload.receive(receiver, line)
    finally:
        await contender.close(receiver)
