"""What happens when: phases in which all workers act and things fail, each followed by a calm in which all is checked.

In the calm it is known which channels are members of which groups: each membership is changed by one process only, one
change after the other. So a probe to every group and channel must reach just those that it should, once.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from soak import worker
from soak.checks import GROWTH, Once
from soak.sites import Site
from soak.worker import DEADLINE, JOBS

#: Seconds that a phase lasts.
_PHASE = 8.0

#: Phases after which the processes have seen everything, and grow no more.
_WARM = 3

_spawn = multiprocessing.get_context("spawn")


class Process:
    """A worker as the run sees it."""

    def __init__(self, site: Site, name: str) -> None:
        self.name = name
        self._pipe, theirs = _spawn.Pipe()
        arguments = (theirs, name, site.backend, site.options())
        self._process = _spawn.Process(target=worker.main, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self.report: dict[str, Any] = self.answer()
        self.peaks: list[int] = []

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def tell(self, *command: Any) -> None:
        self._pipe.send(command)

    def answer(self) -> Any:
        """What it says to what it was told.

        :raises EOFError: if it has ended, or does not answer.
        """
        pipe: Connection = self._pipe
        if not pipe.poll(5 * DEADLINE):
            raise EOFError(f"{self.name} does not answer")
        return pipe.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    def end(self) -> None:
        with suppress(OSError):  # it has ended
            self.tell("end")
        self._process.join(DEADLINE)
        if self._process.is_alive():
            self.kill()


class Run:
    """One site, from one seed.

    :param until: when it ends (monotonic seconds).
    """

    def __init__(self, site: Site, seed: int, workers: int, until: float) -> None:
        self._site = site
        self._seed = seed
        self._until = until
        self._births = 0
        self._once = Once()
        self._problems: list[str] = []
        self._processes = [self._begin(number) for number in range(workers)]

    def _begin(self, number: int) -> Process:
        self._births += 1
        return Process(self._site, f"{number}.{self._births}")

    def go(self) -> list[str]:
        """Phase after phase until the time is over, or something is wrong; what that is."""
        phase = 0
        try:
            while not self._problems and (time.monotonic() < self._until or not phase):
                phase += 1
                began = time.monotonic()
                happened = self._act(phase)
                self._check(phase)
                print(
                    f"  phase {phase}: {', '.join(happened) or 'nothing fails'}; "
                    f"{sum(self._delivered.values())} probes, {time.monotonic() - began:.1f} s",
                    flush=True,
                )
        except EOFError as error:
            self._problems.append(str(error) or "a worker has ended")
        finally:
            for process in self._processes:
                process.end()
        return self._problems

    # Acting

    def _act(self, phase: int) -> list[str]:
        chance = random.Random(f"{self._seed} {phase}")
        channels, groups = self._all("channels"), self._all("groups")
        for process in self._processes:
            process.tell("act", f"{self._seed} {phase} {process.name}", channels, groups)
            process.answer()
        faults = self._draw_faults(chance)
        pauses = sorted(chance.uniform(0, _PHASE) for _ in faults)
        began = time.monotonic()
        for at, fault in zip(pauses, faults, strict=True):
            time.sleep(max(0.0, began + at - time.monotonic()))
            self._fail(fault, chance)
        time.sleep(max(0.0, began + _PHASE - time.monotonic()))
        self._settle("restart" in faults)
        return faults

    def _draw_faults(self, chance: random.Random) -> list[str]:
        possible = ["kill", "stop", *self._site.faults]
        return [chance.choice(possible) for _ in range(chance.choice((0, 1, 1, 2, 3)))]

    def _fail(self, fault: str, chance: random.Random) -> None:
        number = chance.randrange(len(self._processes))
        process = self._processes[number]
        if fault == "kill":
            process.kill()
            self._processes[number] = self._begin(number)
        elif fault == "stop":
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(process.pid, signal.SIGCONT)
        else:
            self._site.fail(fault, chance)

    def _all(self, what: str) -> list[Any]:
        return [each for process in self._processes for each in process.report[what]]

    # The calm

    def _settle(self, has_forgotten: bool) -> None:
        self._let_all("stop")
        self._let_all("settle", self._all("channels"), has_forgotten)
        for process in self._processes:
            process.peaks.append(process.report["peak"])
            if len(process.peaks) > _WARM and process.peaks[-1] - process.peaks[_WARM - 1] > GROWTH:
                self._problems.append(f"{process.name} has grown: {process.peaks}")

    def _let_all(self, *command: Any) -> None:
        """Tell all workers to do something, and hear how they are."""
        for process in self._processes:
            process.tell(*command)
        for process in self._processes:
            process.report = process.answer()
            self._problems += process.report["problems"]
            for channel, by, number in process.report["taken"]:
                if problem := self._once.problem_with(channel, by, number):
                    self._problems.append(problem)

    def _check(self, phase: int) -> None:
        self._problems += self._site.problems()
        chance = random.Random(f"{self._seed} {phase} probes")
        living = [*self._all("channels"), *JOBS]
        to_each = [("send", channel, f"{phase} to {channel}") for channel in living]
        expected = Counter((channel, f"{phase} to {channel}") for channel in living)
        self._probe(to_each, expected, chance)
        # When these have come, no channel is full any more: of a group message, that would be a reason to be dropped.
        to_groups = [("group_send", group, f"{phase} to {group}") for group in self._all("groups")]
        members = [(group, channel) for group, channel in self._all("members") if channel in living]
        expected.update((channel, f"{phase} to {group}") for group, channel in members)
        self._probe(to_groups, expected, chance)

    def _probe(
        self, sends: list[tuple[str, str, str]], expected: Counter[tuple[str, str]], chance: random.Random
    ) -> None:
        """Send probes, each from any process, and wait until just those that are expected have come."""
        shares: list[list[tuple[str, str, str]]] = [[] for _ in self._processes]
        for send in sends:
            chance.choice(shares).append(send)
        for process, share in zip(self._processes, shares, strict=True):
            process.tell("probe", share)
        for process in self._processes:
            self._problems += process.answer()
        self._await(expected)

    def _await(self, expected: Counter[tuple[str, str]]) -> None:
        end = time.monotonic() + DEADLINE
        while (got := self._got()) != expected and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.2)  # what should not come may come now
        self._delivered = got = self._got()
        for (channel, probe), count in (expected - got).items():
            self._problems.append(f"probe {probe} has reached {channel} {count} times less than it should")
        for (channel, probe), count in (got - expected).items():
            self._problems.append(f"probe {probe} has reached {channel} {count} times more than it should")

    def _got(self) -> Counter[tuple[str, str]]:
        got: Counter[tuple[str, str]] = Counter()
        for process in self._processes:
            process.tell("got")
            got.update(process.answer())
        return got
