"""Random steps in two processes that share nothing but a prefix, each step compared with the model of the suite.

The suite's machine lets one object send and the other receive, in one process. Here both processes do everything: each
has channels of its own; either sends to, adds, discards and flushes what belongs to the other; and each may close its
layer, or be killed and replaced.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from processes import Worker
from shared_memory import remains

from channel_layers.conformance.model import Model

CAPACITY = 3
PROCESSES = st.integers(0, 1)
#: Two of the first process, two of the second, two normal ones.
CHANNELS = st.integers(0, 5)
OWNERS = (0, 0, 1, 1, None, None)
GROUPS = st.sampled_from(["room.a", "room.b"])
#: A third process sends what the two wait for together.
HELPER = 2


class TwoProcesses(RuleBasedStateMachine):
    workers: ClassVar[list[Worker]]

    def __init__(self) -> None:
        super().__init__()
        self.prefix = f"test{secrets.token_hex(6)}"
        self.model = Model(CAPACITY)
        self.kills = 0
        for process, worker in enumerate(self.workers):
            if worker.is_busy:  # with what it was told in an example that failed
                self.replace(process)
        self.names = ["", "", "", "", "jobs.a", "jobs.b"]
        self.use_new_layer(HELPER)
        for process in (0, 1):
            self.begin(process)

    def use_new_layer(self, process: int) -> None:
        assert self.ask(process, "use", {"prefix": self.prefix, "capacity": CAPACITY}) is None

    def begin(self, process: int) -> None:
        """A new layer in a process, with channels of its own."""
        self.use_new_layer(process)
        for channel in (2 * process, 2 * process + 1):
            self.names[channel] = self.ask(process, "new_channel")

    def tell(self, process: int, verb: str, *arguments: Any) -> None:
        self.workers[process].tell(verb, *arguments)

    def hear(self, process: int) -> Any:
        done, answer = self.workers[process].hear()
        assert done == "done"
        return answer

    def ask(self, process: int, verb: str, *arguments: Any) -> Any:
        self.tell(process, verb, *arguments)
        return self.hear(process)

    def settle(self) -> None:
        """Who is full with messages of a group, senders know when their owner has looked."""
        for process in (0, 1):
            assert self.ask(process, "until_quiet") is None

    def teardown(self) -> None:
        try:
            for channel, name in enumerate(self.names):
                while self.model.oldest(name):
                    assert self.ask(self.reader(0, channel), "receive", name) == self.model.take(name)
            for process in (0, 1):
                counts = self.ask(process, "statistics")
                assert counts["unread"] == 0
                assert counts["sent"] == counts["accepted"] + sum(counts["refused"].values())
                assert counts["arrived"] == counts["delivered"] + sum(counts["dropped"].values())
        finally:
            for process in (0, 1, HELPER):
                self.ask(process, "close")
        assert remains(self.prefix) == []

    def reader(self, process: int, channel: int) -> int:
        """The process that receives: any for a normal channel, otherwise the owner."""
        owner = OWNERS[channel]
        return process if owner is None else owner

    # Steps

    @rule(sender=PROCESSES, channel=CHANNELS)
    def send(self, sender: int, channel: int) -> None:
        self._send(sender, channel)
        self.settle()

    def _send(self, sender: int, channel: int) -> None:
        name, message = self.names[channel], self.model.next_message()
        wanted = "ChannelFull" if self.model.is_full(name) else None
        assert self.ask(sender, "send", name, message) == wanted
        self.model.put(name)

    @rule(process=PROCESSES, channel=CHANNELS)
    def receive(self, process: int, channel: int) -> None:
        name, process = self.names[channel], self.reader(process, channel)
        self.tell(process, "receive", name)
        if not self.model.oldest(name):
            self._send(1 - process, channel)
        assert self.hear(process) == self.model.take(name)

    @rule(process=PROCESSES, channel=CHANNELS, turns=st.integers(0, 6), sends=st.booleans())
    def cancel_a_receive(self, process: int, channel: int, turns: int, sends: bool) -> None:
        """While the other process sends, perhaps."""
        name, process = self.names[channel], self.reader(process, channel)
        self.tell(process, "receive_and_cancel", name, turns)
        if sends and not self.model.is_full(name):
            self._send(1 - process, channel)
        got = self.hear(process)
        if got is not None:
            assert got == self.model.take(name)
        self.settle()

    @rule(channel=st.integers(4, 5))
    def both_receive(self, channel: int) -> None:
        """Each takes one; which one, is open."""
        name = self.names[channel]
        for process in (0, 1):
            self.tell(process, "receive", name)
        while len(self.model.unread.get(name, ())) < 2:
            self._send(HELPER, channel)
        got = [self.hear(process) for process in (0, 1)]
        assert sorted(each["n"] for each in got) == [self.model.take(name)["n"] for _ in (0, 1)]

    @rule(process=PROCESSES, group=GROUPS, channel=CHANNELS)
    def group_add(self, process: int, group: str, channel: int) -> None:
        assert self.ask(process, "group_add", group, self.names[channel]) is None
        self.model.members.setdefault(group, set()).add(self.names[channel])

    @rule(process=PROCESSES, group=GROUPS, channel=CHANNELS)
    def group_discard(self, process: int, group: str, channel: int) -> None:
        assert self.ask(process, "group_discard", group, self.names[channel]) is None
        self.model.members.get(group, set()).discard(self.names[channel])

    @rule(process=PROCESSES, group=GROUPS)
    def group_send(self, process: int, group: str) -> None:
        assert self.ask(process, "group_send", group, self.model.next_message()) is None
        for name in self.model.members.get(group, ()):
            self.model.put(name)
        self.settle()

    @rule(process=PROCESSES, channel=CHANNELS)
    def discard_channel(self, process: int, channel: int) -> None:
        assert self.ask(process, "discard_channel", self.names[channel]) is None
        self.forget(self.names[channel])
        self.settle()

    @rule(process=PROCESSES)
    def flush(self, process: int) -> None:
        assert self.ask(process, "flush") is None
        self.model.unread.clear()
        self.model.members.clear()

    @rule(process=PROCESSES)
    def close(self, process: int) -> None:
        """Its channels are gone; a layer that is used again has the same names, and nothing in them."""
        assert self.ask(process, "close") is None
        assert self.ask(process, "new_channel") is not None
        self.forget_channels_of(process)

    @precondition(lambda self: self.kills < 1)
    @rule(process=PROCESSES)
    def kill(self, process: int) -> None:
        self.kills += 1
        self.replace(process)
        self.forget_channels_of(process)
        self.begin(process)

    def replace(self, process: int) -> None:
        self.workers[process].kill()
        self.workers[process].end()
        self.workers[process] = Worker("unused")

    def forget_channels_of(self, process: int) -> None:
        for channel in (2 * process, 2 * process + 1):
            self.forget(self.names[channel])

    def forget(self, name: str) -> None:
        self.model.unread.pop(name, None)
        for members in self.model.members.values():
            members.discard(name)


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    """The two processes and the helper; those that they are when the test ends are ended."""
    workers = [Worker("unused") for _ in range(3)]
    yield workers
    for worker in workers:
        worker.end()


def test_two_processes_agree_with_a_model(workers: list[Worker]) -> None:
    machine = type("InTheseProcesses", (TwoProcesses,), {"workers": workers})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
