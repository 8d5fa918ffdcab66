"""The Lua scripts for the mailboxes of processes: what each returns, and what it leaves in which keys."""

from __future__ import annotations

from typing import Any

import pytest
from redis_scripts import EXPIRY, GROUP_TTL, LEASE, OLD, YOUNG, ScriptTests
from redis_servers import wait_until

from channel_layers.redis import scripts
from channel_layers.redis.queue.counted import FULL

#: The longest expiry there is, in milliseconds.
CENTURY = 100 * 365 * 86_400_000


class MailboxTests(ScriptTests):
    """The keys of the process ``me``."""

    @pytest.fixture(autouse=True)
    def _names(self, _server: None) -> None:
        self.mailbox, self.early, self.control_key = (
            self.keys.mailbox("me"),
            self.keys.early("me"),
            self.keys.control("me"),
        )


class TestSend(MailboxTests):
    def test_appends_and_counts(self) -> None:
        self.register()
        assert self.send(("me!a", "one"), ("me!b", "two"), ("me!a", "three")) == 1
        assert self.entries(self.mailbox) == [
            ["me!a", "one", "writer", "1"],
            ["me!b", "two", "writer", "2"],
            ["me!a", "three", "writer", "3"],
        ]
        assert self.unread() == {"me!a": 2, "me!b": 1}
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}

    def test_a_full_channel_refuses_and_the_others_do_not(self) -> None:
        self.register()
        messages = [("me!a", "1"), ("me!a", "2"), ("me!a", "3"), ("me!b", "4"), ("me!a", "5")]
        assert self.send(*messages) == [1, 1, 0, 1, 0]
        assert self.payloads(self.mailbox) == ["1", "2", "4"]
        assert self.send(("me!a", "6")) == [0]
        assert self.unread() == {"me!a": 2, "me!b": 1}

    def test_a_mailbox_at_its_bound_refuses(self) -> None:
        self.register()
        assert self.send(("me!a", "1"), ("me!b", "2"), ("me!c", "3"), bound=2) == [1, 1, -1]
        assert self.send(("me!d", "4"), bound=2) == [-1]
        assert self.payloads(self.mailbox) == ["1", "2"]
        assert self.unread() == {"me!a": 1, "me!b": 1}

    def test_a_channel_that_is_flagged_as_full_refuses(self) -> None:
        self.register("me!a", FULL)
        assert self.send(("me!a", "m"), capacity=1_000_000) == [0]
        assert self.unread() == {"me!a": FULL}

    @pytest.mark.parametrize("lease_had_ended", [False, True])
    def test_waits_for_a_mailbox_that_is_not_there(self, lease_had_ended: bool) -> None:
        if lease_had_ended:
            self.register("me!a", 1)
            self.redis.delete(self.mailbox)
        assert self.send(("me!a", "1"), ("me!a", "2")) == ([1, 0] if lease_had_ended else 1)
        assert self.entries(self.early)[0] == ["me!a", "1", "writer", "1"]
        assert self.unread() == {"me!a": 2}
        assert self.lifetimes() == {"early:me": 60, "unread:me": 60}

    def test_each_message_renews_what_waits_for_a_mailbox(self) -> None:
        self.write(self.early, ("me!a", "1"), ttl=10_000)
        self.count(a=1)
        assert self.send(("me!a", "2")) == 1
        assert self.lifetimes() == {"early:me": 60, "unread:me": 60}

    def test_capacity_and_bound_hold_without_a_mailbox_too(self) -> None:
        assert self.send(("me!a", "1"), ("me!a", "2"), ("me!a", "3"), ("me!b", "4"), ("me!c", "5"), bound=3) == [
            *(1, 1, 0, 1, -1)
        ]
        assert self.payloads(self.early) == ["1", "2", "4"]
        assert self.unread() == {"me!a": 2, "me!b": 1}

    def test_a_refusal_leaves_no_counters_behind(self) -> None:
        self.write(self.early, ("@g", "1"), ("@g", "2"))
        assert self.send(("me!a", "3"), bound=2) == [-1]
        assert self.lifetimes() == {"early:me": 30}

    @pytest.mark.parametrize("registered", [True, False])
    def test_expired_messages_leave_a_full_channel(self, registered: bool) -> None:
        stream = self.mailbox if registered else self.early
        self.write(stream, ("me!a", "old"), ("me!b", "old"), ("me!a", "old"), age=OLD)
        self.write(stream, ("me!b", "young"), age=YOUNG)
        self.count(a=2, b=2)
        assert self.send(("me!a", "1"), ("me!a", "2"), ("me!a", "3"), ("me!b", "4"), ("me!b", "5")) == [1, 1, 0, 1, 0]
        assert self.payloads(stream) == ["young", "1", "2", "4"]
        assert self.unread() == {"me!a": 2, "me!b": 2}
        lifetimes = {"mailbox:me": 30, "unread:me": 40} if registered else {"early:me": 60, "unread:me": 60}
        assert self.lifetimes() == lifetimes

    def test_expired_messages_leave_a_mailbox_at_its_bound(self) -> None:
        self.write(self.mailbox, ("me!a", "old"), ("me!b", "old"), age=OLD)
        self.count(a=1, b=1)
        assert self.send(("me!c", "1"), ("me!c", "2"), ("me!d", "3"), bound=2) == [1, 1, -1]
        assert self.payloads(self.mailbox) == ["1", "2"]
        assert self.unread() == {"me!c": 2}

    def test_living_messages_stay(self) -> None:
        self.write(self.mailbox, ("me!a", "1"), ("me!a", "2"), age=YOUNG)
        self.count(a=2)
        assert self.send(("me!a", "3")) == [0]
        assert self.payloads(self.mailbox) == ["1", "2"]
        assert self.unread() == {"me!a": 2}

    def test_nothing_has_expired_if_messages_live_longer_than_the_clock_has_run(self) -> None:
        self.write(self.mailbox, ("me!a", "1"), ("me!a", "2"), age=OLD)
        self.count(a=2)
        assert self.send(("me!a", "3"), ("me!b", "4"), expiry=CENTURY) == [0, 1]
        assert self.payloads(self.mailbox) == ["1", "2", "4"]
        assert self.unread() == {"me!a": 2, "me!b": 1}

    def test_nobody_looks_for_expired_messages_while_there_is_room(self) -> None:
        self.write(self.mailbox, ("me!a", "old"), age=OLD)
        self.count(a=1)
        assert self.send(("me!a", "new")) == 1
        assert self.payloads(self.mailbox) == ["old", "new"]
        assert self.unread() == {"me!a": 2}

    def test_expired_group_messages_and_commands_were_not_counted(self) -> None:
        self.write(self.mailbox, ("@me!a", "old"), ("!flush", "old"), ("me!a", "old"), age=OLD)
        self.redis.hset(self.keys.unread("me"), mapping={"@me!a": 1, "!flush": 1})
        self.count(a=2)
        assert self.send(("me!a", "1"), ("me!a", "2")) == [1, 0]
        assert self.payloads(self.mailbox) == ["old", "1"]  # a command does not expire
        assert self.unread() == {"@me!a": 1, "!flush": 1, "me!a": 2}

    def test_counters_that_are_too_low_do_not_become_negative(self) -> None:
        self.write(self.mailbox, ("me!b", "old"), ("me!b", "old"), age=OLD)
        self.count(a=2, b=1)
        assert self.send(("me!a", "1")) == [0]
        assert self.unread() == {"me!a": 2}

    def test_payloads_are_bytes(self) -> None:
        payload = bytes(range(256))
        self.register()
        assert self.send(("me!a", payload), ("me!a", b"")) == 1
        [(_, messages)] = self.raw_redis.xread({self.mailbox: 0})
        assert [fields[b"me!a"] for _, fields in messages] == [payload, b""]


class TestRegister(MailboxTests):
    def test_makes_an_empty_mailbox(self) -> None:
        assert self.register() == [1, self.last_id(), "0"]
        assert self.entries(self.mailbox) == []
        assert self.redis.hgetall(self.keys.unread("me")) == {"": "1"}
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}

    def test_renews_a_mailbox_and_leaves_its_messages(self) -> None:
        self.write(self.mailbox, ("me!a", "1"), ("@g", "2"), ttl=10_000)
        assert self.register() == [0, self.ids(self.mailbox)[-1], "0"]
        assert self.payloads(self.mailbox) == ["1", "2"]
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}

    def test_counts_what_lies_behind_the_position(self) -> None:
        self.write(self.mailbox, *(("me!a", "") for _ in range(2)), ("me!b", ""), ("me!a", ""), ("me!c", ""))
        self.register(position=self.ids(self.mailbox)[1])
        assert self.unread() == {"me!a": 1, "me!b": 1, "me!c": 1}

    def test_adds_what_the_process_holds(self) -> None:
        self.write(self.mailbox, ("me!a", ""), ("me!a", ""))
        self.register("me!a", 3, "me!b", FULL, position=self.ids(self.mailbox)[0])
        assert self.unread() == {"me!a": 4, "me!b": FULL}

    def test_counts_neither_group_messages_nor_commands(self) -> None:
        self.write(self.mailbox, ("@g", ""), ("!flush", ""), ("me!a", ""))
        self.register()
        assert self.unread() == {"me!a": 1}

    def test_forgets_what_was_counted_before(self) -> None:
        self.count(a=7)
        self.register()
        assert self.unread() == {}

    def test_counts_more_than_one_step_of_the_search(self) -> None:
        self.write(self.mailbox, *((f"me!{n % 2}", "") for n in range(250)))
        self.register()
        assert self.unread() == {"me!0": 125, "me!1": 125}

    def test_takes_over_what_came_early(self) -> None:
        self.send(("me!a", "1"), ("me!a", "2"))
        self.redis.xadd(self.early, {"@g": "3", "writer": 1})
        ids = self.ids(self.early)
        # A position is of another mailbox, whose lease had ended: all that is here is new.
        assert self.register(position="9999999999999-0") == [1, ids[-1], "0"]
        assert self.ids(self.mailbox) == ids
        assert self.payloads(self.mailbox) == ["1", "2", "3"]
        assert self.unread() == {"me!a": 2}
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}

    def test_the_newest_id_survives_trimming(self) -> None:
        self.register()
        self.send(("me!a", "1"))
        newest = self.last_id()
        self.redis.xtrim(self.mailbox, 0)
        assert self.register(position=newest) == [0, newest, "0"]
        assert self.unread() == {}

    def test_returns_the_epoch(self) -> None:
        self.redis.set(self.keys.epoch, 1234, px=EXPIRY)
        assert self.register()[2] == "1234"
        assert self.lifetimes() == {"epoch": 60, "mailbox:me": 30, "unread:me": 40}

    def last_id(self) -> str:
        return str(self.redis.xinfo_stream(self.mailbox)["last-generated-id"])


class TestRenew(MailboxTests):
    def renew(self) -> Any:
        keys = (self.mailbox, self.keys.unread("me"), self.control_key, self.keys.epoch)
        return self.run(scripts.renew, keys, LEASE, GROUP_TTL, 150_000)

    def test_renews_mailbox_and_counters(self) -> None:
        self.register("me!a", 1)
        for key in (self.mailbox, self.keys.unread("me")):
            self.redis.pexpire(key, 10_000)
        assert self.renew() == "0"
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}
        assert self.unread() == {"me!a": 1}

    @pytest.mark.parametrize(("ttl", "control", "epoch"), [(10_000, 100, 150), (200_000, 200, 200)])
    def test_keeps_what_others_use_too(self, ttl: int, control: int, epoch: int) -> None:
        self.register()
        self.control("discard", "me!a")
        self.redis.set(self.keys.epoch, 1234)
        for key in (self.keys.epoch, self.control_key):
            self.redis.pexpire(key, ttl)
        assert self.renew() == "1234"
        assert self.lifetimes() == {"control:me": control, "epoch": epoch, "mailbox:me": 30, "unread:me": 40}

    def test_a_lease_that_has_ended_cannot_be_renewed(self) -> None:
        self.count(a=1)
        self.redis.set(self.keys.epoch, 1234, px=10_000)
        assert self.renew() is None
        assert self.lifetimes() == {"epoch": 10, "unread:me": 40}


class TestGiveBack(MailboxTests):
    def give_back(self, keep: str, keep_control: str, *freed: str | int) -> None:
        keys = (self.mailbox, self.control_key, self.keys.unread("me"), self.keys.epoch)
        assert self.run(scripts.give_back, keys, keep, keep_control, 7, *freed) is None

    def test_frees_places(self) -> None:
        self.register("me!a", 3, "me!b", 2, "me!c", 1)
        self.give_back("0-1", "", "me!a", 1, "me!b", 2)
        assert self.unread() == {"me!a": 2, "me!c": 1}
        assert self.lifetimes() == {"mailbox:me": 30, "unread:me": 40}

    def test_stops_at_zero(self) -> None:
        self.register("me!a", 1)
        self.give_back("0-1", "", "me!a", 5, "me!b", 1)
        assert self.unread() == {}
        assert self.send(("me!a", "1"), ("me!a", "2"), ("me!a", "3")) == [1, 1, 0]

    def test_flags_a_channel_as_full_and_frees_it_again(self) -> None:
        self.register()
        self.send(("me!a", "1"))
        self.give_back("0-1", "", "me!a", -FULL)
        assert self.unread() == {"me!a": 1 + FULL}
        self.give_back("0-1", "", "me!a", FULL)
        assert self.unread() == {"me!a": 1}

    def test_removes_what_was_read(self) -> None:
        self.write(self.mailbox, ("me!a", "1"), ("@g", "2"), ("me!a", "3"))
        self.write(self.control_key, ("join", "1"), ("join", "2"))
        self.give_back(self.ids(self.mailbox)[2], self.ids(self.control_key)[1])
        assert self.payloads(self.mailbox) == ["3"]
        assert self.payloads(self.control_key) == ["2"]

    def test_control_entries_may_be_left_alone(self) -> None:
        self.write(self.mailbox, ("me!a", "1"))
        self.write(self.control_key, ("join", "1"))
        self.give_back("9999999999999-0", "")
        assert self.payloads(self.mailbox) == []
        assert self.payloads(self.control_key) == ["1"]
        assert self.lifetimes() == {"control:me": 30, "mailbox:me": 30}

    def test_counts_nothing_without_a_mailbox(self) -> None:
        self.send(("me!a", "1"), ("me!a", "2"))
        self.give_back("0-1", "", "me!a", 1)
        assert self.unread() == {"me!a": 2}

    @pytest.mark.parametrize("epoch", [None, 6, 7, 8])
    @pytest.mark.parametrize("is_there", [True, False])
    def test_removes_no_change_after_a_flush_that_was_not_heard_of(self, epoch: int | None, is_there: bool) -> None:
        if is_there:
            self.register()
        if epoch is not None:
            self.redis.set(self.keys.epoch, epoch, px=10_000)
        self.write(self.control_key, ("join", "1"))
        self.give_back("0-1", "9999999999999-0")
        assert self.payloads(self.control_key) == (["1"] if epoch == 8 else [])

    @pytest.mark.parametrize("places", [1, -FULL])
    def test_makes_no_keys(self, places: int) -> None:
        self.give_back("9999999999999-0", "9999999999999-0", "me!a", places)
        assert self.lifetimes() == {}


class TestFlush(MailboxTests):
    def flush_mailbox(self) -> int:
        keys = (self.mailbox, self.keys.unread("me"), self.control_key, self.early)
        left: int = self.run(scripts.flush_mailbox, keys, 1234, "flushed")
        return left

    def raise_epoch(self) -> int:
        epoch: str = self.run(scripts.raise_epoch, [self.keys.epoch], GROUP_TTL)
        assert self.redis.get(self.keys.epoch) == epoch
        assert self.lifetimes() == {"epoch": 100}
        return int(epoch)

    def test_a_mailbox_holds_the_command_alone(self) -> None:
        self.register("me!a", 1)
        self.send(("me!a", "1"))
        [before] = self.ids(self.mailbox)
        self.redis.pexpire(self.mailbox, 20_000)
        self.control("join", "me!a")
        self.write(self.early, ("me!a", "2"))
        assert 10_000 < self.flush_mailbox() <= 20_000
        assert self.entries(self.mailbox) == [["!flush", "flushed", "1234", "0"]]
        assert self.ids(self.mailbox)[0] > before
        assert self.redis.hgetall(self.keys.unread("me")) == {"": "1"}
        assert self.lifetimes() == {"group:g": 100, "mailbox:me": 20, "unread:me": 40}

    def test_a_process_answers_to_all_who_flush_at_once(self) -> None:
        self.register()
        for _ in range(3):
            self.flush_mailbox()
        assert self.entries(self.mailbox) == [["!flush", "flushed flushed flushed", "1234", "0"]]

    def test_without_a_mailbox_nothing_stays(self) -> None:
        self.count(a=1)
        self.control("discard", "me!a")
        self.write(self.early, ("me!a", "1"))
        assert self.flush_mailbox() < 0
        assert self.lifetimes() == {}

    def test_an_epoch_is_above_the_one_before(self) -> None:
        before = self.now()
        epochs = [self.raise_epoch() for _ in range(3)]
        assert before <= epochs[0] < epochs[1] < epochs[2]

    def test_an_epoch_is_above_one_that_is_ahead_of_the_clock(self) -> None:
        ahead = self.now() + 10**15  # more digits than Lua writes by itself
        self.redis.set(self.keys.epoch, ahead)
        assert self.raise_epoch() == ahead + 1

    def test_an_epoch_is_above_one_that_has_gone(self) -> None:
        gone = self.raise_epoch()
        self.redis.delete(self.keys.epoch)
        wait_until(lambda: self.now() > gone, "the next millisecond")
        assert self.raise_epoch() > gone

    def test_processes_acknowledge(self) -> None:
        flushed = self.keys.flushed("nonce")
        for client in ("one", "two"):
            assert self.run(scripts.acknowledge, [flushed], client, LEASE) is None
            assert self.lifetimes() == {"flushed:nonce": 30}
        assert self.redis.lrange(flushed, 0, -1) == ["one", "two"]
