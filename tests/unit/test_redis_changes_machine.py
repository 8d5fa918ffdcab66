"""Whatever a server loses and finds again: its own confirmed changes make the memberships of a process, and those of
others that have reached it, in their order."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from channel_layers.redis.keys import Keys
from channel_layers.redis.queue import changes
from channel_layers.redis.queue.changes import Change
from channel_layers.redis.queue.counted import CountedInbox
from channel_layers.redis.queue.mailbox import Mailbox
from channel_layers.redis.queue.membership import START, Position, as_text

CHANNELS, GROUPS = ["a", "b"], ["room"]
CHANGES = st.one_of(
    st.builds(Change, st.sampled_from(["join", "leave"]), st.sampled_from(GROUPS), st.sampled_from(CHANNELS)),
    st.builds(Change, st.just("discard"), st.just(""), st.sampled_from(CHANNELS)),
)
SOME_CHANGES = st.lists(CHANGES, min_size=1, max_size=3)


class Owner:
    """Takes note of nothing."""

    def holds(self, channel: str) -> bool:
        return True

    def note(self, *_: object) -> None:
        pass

    has_read_some = has_read = will_give_back = give_back_over = has_no_members = may_be_unlisted = note


class Process(RuleBasedStateMachine):
    """The mailbox of a process, and the control entries that a server has for it."""

    def __init__(self) -> None:
        super().__init__()
        inbox = CountedInbox(60, lambda _: 100, lambda *_: None, False)
        owner: Any = Owner()
        self.mailbox = Mailbox(Keys("machine"), "me", inbox, None, 1000, 1 << 40, owner)
        self.clock = 0
        #: What the server has, and all that was ever written since the last flush.
        self.control: dict[Position, Change] = {}
        self.written: dict[Position, Change] = {}
        #: What makes the memberships.
        self.counts: dict[Position, Change] = {}
        self.own: set[Position] = set()
        self.was_read: set[Position] = set()
        self.void: set[Position] = set()
        self.has_a_mailbox = True

    def write(self, change: Change) -> Position:
        self.clock += 1
        entry = (self.clock, 0)
        self.control[entry] = self.written[entry] = self.counts[entry] = change
        return entry

    def read_after(self, position: Position) -> None:
        entries = {entry: change for entry, change in self.control.items() if entry > position}
        self.was_read |= entries.keys()
        reply = [(as_text(entry).encode(), [*map(str.encode, change), b"0-0"]) for entry, change in entries.items()]
        self.mailbox._deliver([], reply, 0)

    def start_anew(self, is_flushed: bool, asked_before: bool) -> None:
        """As a registration does, and the new connection. The answer to a look from before may come first."""
        mailbox, read_before = self.mailbox, self.mailbox.changes.position
        mailbox.start_anew()
        if is_flushed:
            mailbox.memberships.clear()
            mailbox.changes.flushed(read_before)
        if asked_before:
            self.read_after(read_before)
        connection: Any = Connection()
        mailbox.read(connection)
        self.all_is_read(is_trimmed=False)

    # What happens

    @rule(some=SOME_CHANGES)
    def it_changes_something(self, some: list[Change]) -> None:
        """The answers to these verbs may come in any order."""
        entries = {self.write(change): change for change in some}
        self.own |= entries.keys()
        for entry in reversed(entries):
            self.mailbox.changes.promise(entry, entries[entry])

    @rule(change=CHANGES)
    def its_reader_is_faster_than_its_verb(self, change: Change) -> None:
        entry = self.write(change)
        self.own.add(entry)
        self.read_after(self.mailbox.changes.position)
        self.mailbox.changes.promise(entry, change)

    @rule(some=SOME_CHANGES)
    def another_changes_something(self, some: list[Change]) -> None:
        for change in some:
            self.write(change)

    @rule(channel=st.sampled_from(CHANNELS))
    def a_channel_ends_on_another_server(self, channel: str) -> None:
        """There is no entry for that here. Joins by others that were not read yet count; its own do not."""
        read_up_to = max(self.was_read, default=START)
        for entry in self.own - self.was_read:
            if self.counts.get(entry, Change("", "", ""))[::2] == ("join", channel):
                del self.counts[entry]
                self.void.add(entry)
        self.mailbox.forget_members(channel)
        self.clock += 1
        self.counts[read_up_to[0], self.clock] = Change("discard", "", channel)

    @precondition(lambda self: self.has_a_mailbox)
    @rule(lag=st.integers(0, 3), has_all=st.booleans(), asked_before=st.booleans())
    def the_server_loses_something(self, lag: int, has_all: bool, asked_before: bool) -> None:
        """A copy takes over, which lags behind, and may have more of what was read; or only the mailbox is gone. What
        only others knew of is lost with it."""
        kept = sorted(self.written)[: len(self.written) - lag]
        self.control = {entry: self.written[entry] for entry in kept if has_all or entry in self.control}
        for entry in self.written.keys() - self.own - self.was_read - self.control.keys():
            del self.written[entry], self.counts[entry]
        self.start_anew(is_flushed=False, asked_before=asked_before and not lag)

    @rule()
    def the_lease_ends_and_somebody_flushes(self) -> None:
        for emptied in (self.control, self.written, self.counts):
            emptied.clear()
        self.has_a_mailbox = False

    @precondition(lambda self: not self.has_a_mailbox)
    @rule(asked_before=st.booleans())
    def the_lease_is_renewed(self, asked_before: bool) -> None:
        self.has_a_mailbox = True
        self.start_anew(is_flushed=True, asked_before=asked_before)

    @rule(is_trimmed=st.booleans())
    def all_is_read(self, is_trimmed: bool) -> None:
        self.read_after(self.mailbox.changes.position)
        if self.has_a_mailbox:
            self.check()
            if is_trimmed:
                self.control = {}

    def check(self) -> None:
        members: dict[str, set[str]] = {group: set() for group in GROUPS}
        for _, (what, group, channel) in sorted(self.counts.items()):
            if what == "join":
                members[group].add(channel)
            for left in [group] if what == "leave" else GROUPS if what == "discard" else []:
                members[left].discard(channel)
        assert {group: {*self.mailbox.memberships.members(group)} for group in GROUPS} == members


class Connection:
    """Asks nobody: the machine hands the answers out itself."""

    def ask(self, *_: object) -> None:
        pass


@pytest.mark.skipif(find_spec("redis") is None, reason="redis-py is not installed")
@pytest.mark.parametrize("remembered", [6, 1000])
def test_memberships_outlive_what_a_server_loses(remembered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it loses so much that what comes back is not remembered change by change."""
    monkeypatch.setattr(changes, "_APPLIED", remembered)
    run_state_machine_as_test(
        Process,
        settings=settings(
            max_examples=1000,
            stateful_step_count=20,
            phases=[Phase.generate],
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
