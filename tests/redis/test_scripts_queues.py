"""The Lua scripts for normal channels: what each returns, and what it leaves in which keys."""

from __future__ import annotations

from typing import Any

import pytest
from redis_scripts import EXPIRY, LEASE, OLD, YOUNG, ScriptTests

from channel_layers.redis import scripts


class TestPush(ScriptTests):
    def test_appends_with_the_time(self) -> None:
        before = self.now()
        assert self.push(payload="a:b") == 0
        [element] = self.redis.lrange(self.keys.queue("jobs"), 0, -1)
        time, _, payload = element.partition(":")
        assert before <= int(time) <= self.now()
        assert payload == "a:b"
        assert self.lifetimes() == {"queue:jobs": 60}

    def test_renews_the_queue(self) -> None:
        self.fill("jobs", "1")
        self.redis.pexpire(self.keys.queue("jobs"), 10_000)
        assert self.push() == 0
        assert self.lifetimes() == {"queue:jobs": 60}

    def test_a_full_channel_refuses(self) -> None:
        assert [self.push(payload=payload) for payload in "123"] == [0, 0, -1]
        assert self.queue("jobs") == ["1", "2"]

    def test_a_full_channel_drops_its_oldest(self) -> None:
        assert [self.push(payload=payload, overflow="old") for payload in "123"] == [0, 0, 1]
        assert self.queue("jobs") == ["2", "3"]

    @pytest.mark.parametrize("overflow", ["new", "old"])
    def test_expired_messages_make_room_and_are_not_counted(self, overflow: str) -> None:
        self.fill("jobs", "1", "2", age=OLD)
        self.fill("jobs", "3", age=YOUNG)
        assert self.push(payload="4", capacity=2, overflow=overflow) == 0
        assert self.queue("jobs") == ["3", "4"]

    @pytest.mark.parametrize(("overflow", "dropped", "left"), [("new", -1, "23"), ("old", 1, "34")])
    def test_only_living_messages_count_as_dropped(self, overflow: str, dropped: int, left: str) -> None:
        self.fill("jobs", "1", age=OLD)
        self.fill("jobs", "2", "3", age=YOUNG)
        assert self.push(payload="4", capacity=2, overflow=overflow) == dropped
        assert self.queue("jobs") == [*left]

    def test_a_capacity_that_has_shrunk(self) -> None:
        self.fill("jobs", "1", "2", "3")
        assert self.push(payload="4", capacity=1, overflow="old") == 3
        assert self.queue("jobs") == ["4"]

    def test_payloads_are_bytes(self) -> None:
        payload = bytes(range(256))
        self.push(payload=payload)
        assert self.raw_redis.lindex(self.keys.queue("jobs"), 0).partition(b":")[2] == payload


class TestPutBack(ScriptTests):
    def put_back(self, *elements: str) -> None:
        assert self.run(scripts.put_back, [self.keys.queue("jobs")], EXPIRY, *elements) is None

    def test_to_the_front_in_their_order(self) -> None:
        self.fill("jobs", "4")
        self.put_back("1:1", "2:2", "3:3")
        assert self.queue("jobs") == ["1", "2", "3", "4"]
        assert self.redis.lindex(self.keys.queue("jobs"), 0) == "1:1"

    @pytest.mark.parametrize(("ttl", "expected"), [(None, 60), (10_000, 60), (200_000, 200)])
    def test_the_queue_lives_long_enough(self, ttl: int | None, expected: int) -> None:
        if ttl is not None:
            self.fill("jobs", "2")
            self.redis.pexpire(self.keys.queue("jobs"), ttl)
        self.put_back("1:1")
        assert self.lifetimes() == {"queue:jobs": expected}

    def test_nothing_makes_no_key(self) -> None:
        self.put_back()
        assert self.lifetimes() == {}


class TestRing(ScriptTests):
    def test_one_entry_is_enough(self) -> None:
        wake = self.keys.wake("me")
        for _ in range(2):
            assert self.run(scripts.ring, [wake], LEASE) is None
            assert self.redis.llen(wake) == 1
            assert self.lifetimes() == {"wake:me": 30}
            self.redis.pexpire(wake, 10_000)


class TestGroupSendToNormalChannels(ScriptTests):
    def test_appends_with_the_time(self) -> None:
        self.queue_join("jobs")
        self.queue_join("mail")
        before = self.now()
        assert self.group_send(payload="a:b") == []
        for channel in ("jobs", "mail"):
            [element] = self.redis.lrange(self.keys.queue(channel), 0, -1)
            time, _, payload = element.partition(":")
            assert before <= int(time) <= self.now()
            assert payload == "a:b"
        assert self.lifetimes() == {
            "group:g": 100,
            "groups:jobs": 100,
            "groups:mail": 100,
            "queue:jobs": 60,
            "queue:mail": 60,
        }

    def test_looks_like_what_push_appends(self) -> None:
        self.queue_join()
        self.group_send(payload="1")
        self.push(payload="2")
        assert self.queue("jobs") == ["1", "2"]
        elements = self.redis.lrange(self.keys.queue("jobs"), 0, -1)
        assert [len(element) for element in elements] == [len(f"{self.now()}:1")] * 2

    def test_renews_the_queue(self) -> None:
        self.queue_join()
        self.fill("jobs", "1")
        self.redis.pexpire(self.keys.queue("jobs"), 10_000)
        self.group_send()
        assert self.lifetimes() == {"group:g": 100, "groups:jobs": 100, "queue:jobs": 60}

    @pytest.mark.parametrize(("overflow", "left"), [("new", "12"), ("old", "23")])
    def test_a_full_channel_misses_a_message(self, overflow: str, left: str) -> None:
        self.queue_join(capacity=2)
        sent = [self.group_send(payload=payload, overflow=overflow) for payload in "123"]
        assert sent == [[], [], ["#jobs"]]
        assert self.queue("jobs") == [*left]

    @pytest.mark.parametrize("overflow", ["new", "old"])
    def test_expired_messages_make_room_and_are_not_counted(self, overflow: str) -> None:
        self.queue_join(capacity=2)
        self.fill("jobs", "1", "2", age=OLD)
        self.fill("jobs", "3", age=YOUNG)
        assert self.group_send(payload="4", overflow=overflow) == []
        assert self.queue("jobs") == ["3", "4"]

    @pytest.mark.parametrize(("overflow", "left"), [("new", "23"), ("old", "34")])
    def test_only_living_messages_count_as_missed(self, overflow: str, left: str) -> None:
        self.queue_join(capacity=2)
        self.fill("jobs", "1", age=OLD)
        self.fill("jobs", "2", "3", age=YOUNG)
        assert self.group_send(payload="4", overflow=overflow) == ["#jobs"]
        assert self.queue("jobs") == [*left]

    def test_every_message_that_is_dropped_is_named(self) -> None:
        self.queue_join(capacity=1)
        self.fill("jobs", "1", "2", "3")
        assert self.group_send(payload="4", overflow="old") == ["#jobs"] * 3
        assert self.queue("jobs") == ["4"]

    def test_a_membership_that_has_ended(self) -> None:
        self.queue_join("mail", expiry=EXPIRY)
        self.queue_join("jobs", "other")
        self.queue_join("jobs")
        self.redis.hset(self.keys.group("g"), "#jobs", f"{self.now()}|2")
        assert self.group_send() == []
        assert self.queue("jobs") == []
        assert self.queue("mail") == ["m"]
        assert set(self.members()) == {"#mail"}
        assert self.redis.smembers(self.keys.groups("jobs")) == {"other"}

    def test_processes_and_channels_alike(self) -> None:
        for client in ("full", "living"):
            self.register(client=client)
        self.send(("full!a", "1"), ("full!a", "2"))
        self.list_in_group(full=self.listed(), living=self.listed(), early=self.listed(), dead=self.listed(LEASE))
        for channel in ("jobs", "mail"):
            self.queue_join(channel, capacity=1)
        self.fill("jobs", "1")
        assert sorted(self.group_send(bound=2)) == ["#jobs", "@full"]
        assert self.payloads(self.keys.mailbox("living")) == self.payloads(self.keys.early("early")) == ["m"]
        assert self.queue("mail") == ["m"]
        assert set(self.members()) == {"@full", "@living", "@early", "#jobs", "#mail"}

    def test_payloads_are_bytes(self) -> None:
        payload = bytes(range(256))
        self.register()
        self.list_in_group(me=self.listed())
        self.queue_join()
        self.group_send(payload=payload)
        [(_, fields)] = self.raw_redis.xrange(self.keys.mailbox("me"))
        assert fields[b"@g"] == payload
        assert self.raw_redis.lindex(self.keys.queue("jobs"), 0).partition(b":")[2] == payload


class TestQueueJoinAndLeave(ScriptTests):
    def leave(self, channel: str = "jobs", group: str = "g") -> Any:
        keys = (self.keys.group(group), self.keys.groups(channel))
        return self.run(scripts.queue_leave, keys, channel, group)

    def test_join(self) -> None:
        before = self.now()
        assert self.queue_join(expiry=EXPIRY, capacity=7) is None
        ends, _, capacity = self.members()["#jobs"].partition("|")
        assert before <= int(ends) - EXPIRY <= self.now()
        assert capacity == "7"
        assert self.redis.smembers(self.keys.groups("jobs")) == {"g"}
        assert self.lifetimes() == {"group:g": 100, "groups:jobs": 100}

    def test_join_for_ever(self) -> None:
        self.queue_join(expiry=0)
        assert self.members() == {"#jobs": "0|2"}

    def test_join_again(self) -> None:
        self.queue_join(expiry=0, capacity=1)
        self.queue_join(expiry=EXPIRY, capacity=7)
        self.queue_join(group="other")
        ends, _, capacity = self.members()["#jobs"].partition("|")
        assert int(ends) > self.now()
        assert capacity == "7"
        assert self.redis.smembers(self.keys.groups("jobs")) == {"g", "other"}

    @pytest.mark.parametrize(("ttl", "expected"), [(10_000, 100), (200_000, 200)])
    def test_the_keys_live_long_enough(self, ttl: int, expected: int) -> None:
        self.queue_join()
        for key in (self.keys.group("g"), self.keys.groups("jobs")):
            self.redis.pexpire(key, ttl)
        self.queue_join()
        assert self.lifetimes() == {"group:g": expected, "groups:jobs": expected}

    def test_leave(self) -> None:
        for channel, group in (("jobs", "g"), ("jobs", "other"), ("mail", "g")):
            self.queue_join(channel, group)
        assert self.leave() is None
        assert set(self.members()) == {"#mail"}
        assert set(self.members("other")) == {"#jobs"}
        assert self.redis.smembers(self.keys.groups("jobs")) == {"other"}
        assert self.redis.smembers(self.keys.groups("mail")) == {"g"}

    def test_the_last_leave_takes_the_keys_along(self) -> None:
        self.queue_join()
        self.leave()
        assert self.lifetimes() == {}

    def test_leave_without_a_membership(self) -> None:
        assert self.leave() is None
        assert self.lifetimes() == {}
