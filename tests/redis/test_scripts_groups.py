"""The Lua scripts for groups of processes' channels: what each returns, and what it leaves in which keys."""

from __future__ import annotations

import pytest
from redis_scripts import GROUP_TTL, LEASE, ScriptTests

from channel_layers.redis import scripts
from channel_layers.redis.queue.membership import Position, position_of


class TestControl(ScriptTests):
    def test_join(self) -> None:
        self.register()
        self.send(("me!a", "1"))
        [position] = self.ids(self.keys.mailbox("me"))
        before = self.now()
        entry = self.control("join", "me!a")
        assert self.ids(self.keys.control("me")) == [entry]
        assert self.changes() == [["join", "g", "me!a", position]]
        listed, _, ms = self.members()["@me"].partition("|")
        assert listed == entry
        assert before <= int(ms) <= self.now()
        assert self.lifetimes() == {"control:me": 100, "group:g": 100, "mailbox:me": 30, "unread:me": 40}

    def test_join_again_is_listed_anew(self) -> None:
        self.list_in_group(me=self.listed(LEASE, "5-0"))
        entry = self.control("join", "me!b")
        listed, _, ms = self.members()["@me"].partition("|")
        assert listed == entry
        assert int(ms) > self.now() - LEASE

    def test_leave(self) -> None:
        self.register()
        self.control("join", "me!a")
        members = self.members()
        entry = self.control("leave", "me!a")
        assert self.ids(self.keys.control("me"))[1] == entry
        # Whether the process has members left, it knows alone.
        assert self.members() == members
        assert self.changes()[1] == ["leave", "g", "me!a", self.last_id()]

    def test_leave_of_a_process_that_is_not_listed(self) -> None:
        self.list_in_group(other="5-0|1")
        assert self.control("leave", "me!a") == ""
        assert self.lifetimes() == {"group:g": 100}

    def test_discard(self) -> None:
        self.register()
        entry = self.control("discard", "me!a")
        assert self.ids(self.keys.control("me")) == [entry]
        assert self.changes() == [["discard", "", "me!a", self.last_id()]]
        assert self.lifetimes() == {"control:me": 100, "mailbox:me": 30, "unread:me": 40}

    @pytest.mark.parametrize("registered", [True, False])
    def test_the_position_is_between_the_messages(self, registered: bool) -> None:
        if registered:
            self.register()
        ids = [self.message_id(payload) for payload in "1"]
        for what, payload in (("join", "2"), ("leave", "3"), ("discard", "4")):
            self.control(what, "me!a")
            ids.append(self.message_id(payload))
        positions = [position_of(change[3].encode()) for change in self.changes()]
        assert positions == ids[:3]
        assert sorted(ids) == ids
        if not registered:
            self.register()
            assert [position_of(entry.encode()) for entry in self.ids(self.keys.mailbox("me"))] == ids

    def test_the_position_after_all_was_read(self) -> None:
        self.register()
        newest = self.message_id("1")
        self.redis.xtrim(self.keys.mailbox("me"), 0)
        self.control("discard", "me!a")
        [change] = self.changes()
        assert position_of(change[3].encode()) == newest
        assert self.message_id("2") > newest

    def test_the_position_while_nothing_was_sent(self) -> None:
        self.control("join", "me!a")
        assert self.changes() == [["join", "g", "me!a", "0-0"]]
        assert self.lifetimes() == {"control:me": 100, "group:g": 100}

    def test_the_position_among_messages_that_are_early(self) -> None:
        self.write(self.keys.early("me"), ("@g", "1"), ("@g", "2"))
        early = self.ids(self.keys.early("me"))
        self.control("join", "me!a")
        self.register()
        self.control("leave", "me!a")
        assert [change[3] for change in self.changes()] == [early[1], early[1]]
        assert self.ids(self.keys.mailbox("me")) == early

    @pytest.mark.parametrize("what", ["join", "leave", "discard"])
    def test_a_process_that_reads_none_of_them(self, what: str) -> None:
        self.list_in_group(me="5-0|1")
        for _ in range(2):
            self.control("discard", "me!b")
        assert self.control(what, "me!a", bound=2) is None
        assert [change[2] for change in self.changes()] == ["me!b", "me!b"]
        assert self.members() == {"@me": "5-0|1"}
        assert self.control(what, "me!a", bound=3)
        assert len(self.changes()) == 3

    @pytest.mark.parametrize(("ttl", "expected"), [(10_000, 100), (200_000, 200)])
    def test_its_keys_live_long_enough(self, ttl: int, expected: int) -> None:
        self.control("join", "me!a")
        for key in (self.keys.group("g"), self.keys.control("me")):
            self.redis.pexpire(key, ttl)
        self.control("join", "me!b")
        assert self.lifetimes() == {"control:me": expected, "group:g": expected}

    def changes(self) -> list[list[str]]:
        return self.entries(self.keys.control("me"))

    def last_id(self) -> str:
        return str(self.redis.xinfo_stream(self.keys.mailbox("me"))["last-generated-id"])

    def message_id(self, payload: str) -> Position:
        assert self.send(("me!a", payload), capacity=100) == 1
        ids = self.ids(self.keys.mailbox("me")) or self.ids(self.keys.early("me"))
        return position_of(ids[-1].encode())


class TestDelist(ScriptTests):
    def delist(self, known: str) -> None:
        assert self.run(scripts.delist, [self.keys.group("g")], "me", known) is None

    @pytest.mark.parametrize(
        ("listed", "known"),
        [
            ("5-3", "5-3"),
            ("5-3", "5-4"),
            ("5-9", "5-10"),
            ("5-3", "6-0"),
            ("9-5", "10-0"),
            ("0-0", "0-0"),
            ("1789000000000-0", "1789000000001-0"),
        ],
    )
    def test_a_process_that_knows_the_latest_join(self, listed: str, known: str) -> None:
        self.list_in_group(me=f"{listed}|1789000000000", other="9-9|1")
        self.delist(known)
        assert self.members() == {"@other": "9-9|1"}
        assert self.lifetimes() == {"group:g": 100}

    @pytest.mark.parametrize(
        ("listed", "known"),
        [
            ("5-3", "5-2"),
            ("5-10", "5-9"),
            ("5-3", "4-9"),
            ("10-0", "9-5"),
            ("1-0", "0-0"),
            ("1789000000001-0", "1789000000000-7"),
        ],
    )
    def test_a_join_that_the_process_has_not_come_to(self, listed: str, known: str) -> None:
        self.list_in_group(me=f"{listed}|1789000000000")
        self.delist(known)
        assert self.members() == {"@me": f"{listed}|1789000000000"}

    def test_the_last_one_takes_the_group_along(self) -> None:
        entry = self.control("join", "me!a")
        self.delist(entry)
        assert self.lifetimes() == {"control:me": 100}

    def test_a_process_that_is_not_listed(self) -> None:
        self.delist("5-3")
        assert self.lifetimes() == {}


class TestList(ScriptTests):
    def list_again(self) -> None:
        assert self.run(scripts.list_again, [self.keys.group("g")], "me", GROUP_TTL) is None

    def test_lists_a_process_that_was_forgotten(self) -> None:
        before = self.now()
        self.list_again()
        entry, _, ms = self.members()["@me"].partition("|")
        assert entry == "0-0"  # no join: whatever the process knows, it may delist itself
        assert before <= int(ms) <= self.now()
        assert self.lifetimes() == {"group:g": 100}

    def test_leaves_the_latest_join(self) -> None:
        self.list_in_group(me="5-3|1")
        self.list_again()
        assert self.members() == {"@me": "5-3|1"}

    @pytest.mark.parametrize(("ttl", "expected"), [(10_000, 100), (200_000, 200)])
    def test_the_group_lives_long_enough(self, ttl: int, expected: int) -> None:
        self.list_in_group(me="5-3|1")
        self.redis.pexpire(self.keys.group("g"), ttl)
        self.list_again()
        assert self.lifetimes() == {"group:g": expected}


class TestGroupSendToProcesses(ScriptTests):
    def test_a_group_without_members(self) -> None:
        assert self.group_send() == []
        assert self.lifetimes() == {}

    def test_one_message_for_each_process(self) -> None:
        for client in ("one", "two"):
            self.register(client=client)
            self.control("join", f"{client}!a", client=client)
            self.control("join", f"{client}!b", client=client)
        assert self.group_send(payload="m") == []
        for client in ("one", "two"):
            assert self.entries(self.keys.mailbox(client)) == [["@g", "m", "writer", "1"]]
            assert self.unread(client) == {}
        assert self.lifetimes() == {
            "control:one": 100,
            "control:two": 100,
            "group:g": 100,
            "mailbox:one": 30,
            "mailbox:two": 30,
            "unread:one": 40,
            "unread:two": 40,
        }

    def test_a_process_with_a_lease_lives_however_long_ago_it_joined(self) -> None:
        self.register()
        self.list_in_group(me=self.listed(10 * LEASE))
        assert self.group_send() == []
        assert self.payloads(self.keys.mailbox("me")) == ["m"]
        assert "@me" in self.members()

    def test_a_mailbox_at_its_bound_misses_it(self) -> None:
        for client in ("one", "two"):
            self.register(client=client)
        self.list_in_group(one=self.listed(), two=self.listed())
        self.send(("one!a", "1"))
        assert self.group_send(bound=1) == ["@one"]
        assert self.payloads(self.keys.mailbox("one")) == ["1"]
        assert self.payloads(self.keys.mailbox("two")) == ["m"]
        assert set(self.members()) == {"@one", "@two"}

    def test_waits_for_a_process_that_has_not_registered(self) -> None:
        self.list_in_group(me=self.listed())
        assert self.group_send(payload="1") == []
        self.redis.pexpire(self.keys.early("me"), 10_000)
        assert self.group_send(payload="2") == []
        assert self.entries(self.keys.early("me")) == [["@g", "1", "writer", "1"], ["@g", "2", "writer", "1"]]
        assert "@me" in self.members()
        assert self.lifetimes() == {"early:me": 60, "group:g": 100}

    def test_the_bound_holds_before_the_registration_too(self) -> None:
        self.list_in_group(me=self.listed())
        assert [self.group_send(payload=payload, bound=2) for payload in "123"] == [[], [], ["@me"]]
        assert self.payloads(self.keys.early("me")) == ["1", "2"]

    @pytest.mark.parametrize("age", [LEASE, 10 * LEASE])
    def test_a_process_without_a_lease_is_dead(self, age: int) -> None:
        self.list_in_group(me=self.listed(age), other=self.listed(LEASE - 20_000))
        assert self.group_send() == []
        assert set(self.members()) == {"@other"}
        assert self.lifetimes() == {"early:other": 60, "group:g": 100}

    def test_the_last_dead_process_takes_the_group_along(self) -> None:
        self.list_in_group(me=self.listed(LEASE))
        assert self.group_send() == []
        assert self.lifetimes() == {}
