"""One round in a process of its own: no cache, heap or import of another layer helps or hinders it."""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.contenders import Contender
from benchmarks.stopwatch import Stopwatch
from benchmarks.workloads import WORKLOADS, WrongResultError


@dataclass(frozen=True)
class Round:
    """What the process is told."""

    contender: Contender
    workload: str
    seconds: float
    deadline: float

    def run(self) -> float:
        """Operations per second. Raises WrongResultError if the layer lost, changed or repeated a message."""
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            return process.submit(self._run_here).result()

    def _run_here(self) -> float:
        # A layer that never yields to the loop cannot be timed out from within: show where it hangs, end the process.
        faulthandler.dump_traceback_later(self.deadline + 30, exit=True)
        try:
            return asyncio.run(self._measure())
        except WrongResultError as problem:
            raise WrongResultError(f"{self.contender.name}, {self.workload}: {problem}") from None
        finally:
            faulthandler.cancel_dump_traceback_later()

    async def _measure(self) -> float:
        sender, receiver = self.contender.build()
        watch = Stopwatch(self.seconds)
        try:
            await asyncio.wait_for(WORKLOADS[self.workload](sender, receiver, watch), self.deadline)
        except asyncio.TimeoutError:
            reason = f"not finished after {self.deadline:g} s: a message was lost, or its receiver was not woken"
            raise WrongResultError(reason) from None
        finally:
            await sender.flush()  # a server would keep the messages for the next round
            await sender.close()
            if receiver is not sender:
                await receiver.close()
        return watch.rate
