"""The Lua script that publishes to a group: who hears it, what it returns, and what it leaves in which keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from redis_scripts import EXPIRY, GROUP_TTL, OLD, YOUNG, ScriptTests

from channel_layers.redis import scripts

HEAD = "h" * 24


class TestPublish(ScriptTests):
    @pytest.fixture(autouse=True)
    def _listener(self, _server: None) -> Iterator[None]:
        # What is published needs a right of its own, for names of the prefix only.
        self.redis.execute_command("ACL", "SETUSER", self.prefix, "+publish")
        with closing(self.redis.pubsub(ignore_subscribe_messages=True)) as self._listens:
            self._listens.subscribe(self.keys.group("g"), self.keys.group("other"))
            for _ in "12":
                assert self._listens.get_message(timeout=5) is None
            yield
            assert self.heard() == []

    def publish(self, payload: Any = "m", group: str = "g", overflow: str = "new", head: str = HEAD) -> Any:
        name = self.keys.group(group)
        data = head.encode() + (payload.encode() if isinstance(payload, str) else payload)
        return self.run(scripts.publish, [name], name, self.keys.all, group, EXPIRY, overflow, len(head), data)

    def heard(self) -> list[tuple[str, str]]:
        """What came since it was asked last: a group, and what was published there."""
        heard = []
        self.redis.publish(self.keys.group("other"), "that was all")
        while True:
            message = self._listens.get_message(timeout=5)
            assert message is not None
            if message["data"] == "that was all":
                return heard
            heard.append((message["channel"].removeprefix(self.keys.group("")), message["data"]))

    def list_queues(self, **members: str) -> None:
        """Put normal channels on the list of the group ``g``, as they would stand there, and among their groups."""
        self.redis.hset(self.keys.group("g"), mapping={f"#{name}": value for name, value in members.items()})
        self.redis.pexpire(self.keys.group("g"), GROUP_TTL)
        for name in members:
            self.redis.sadd(self.keys.groups(name), "g")
            self.redis.pexpire(self.keys.groups(name), GROUP_TTL)

    # Processes

    def test_who_listens_hears_it_whole(self) -> None:
        assert self.publish("one") == []
        assert self.publish("two", head="x") == []
        assert self.heard() == [("g", HEAD + "one"), ("g", "xtwo")]
        assert self.lifetimes() == {}

    def test_nobody_else_hears_it(self) -> None:
        self.publish(group="unheard")
        assert self.heard() == []
        assert self.lifetimes() == {}

    def test_no_key_is_made_for_it(self) -> None:
        self.publish()
        self.heard()
        assert self.lifetimes() == {}

    # Normal channels among the members

    def test_each_gets_it_once_without_the_head(self) -> None:
        for channel in ("jobs", "others"):
            self.queue_join(channel)
        before = self.now()
        assert self.publish("m") == []
        assert self.heard() == [("g", HEAD + "m")]
        for channel in ("jobs", "others"):
            [element] = self.redis.lrange(self.keys.queue(channel), 0, -1)
            ms, _, payload = element.partition(":")
            assert payload == "m"
            assert before <= int(ms) <= self.now()
        assert self.lifetimes() == {
            "group:g": 100,
            "groups:jobs": 100,
            "groups:others": 100,
            "queue:jobs": 60,
            "queue:others": 60,
        }

    @pytest.mark.parametrize("payload", [b"", b":", b"\x00\r\n\xff", bytes(range(256)) * 100])
    def test_a_payload_of_any_bytes(self, payload: bytes) -> None:
        self.queue_join("jobs")
        with closing(self.raw_redis.pubsub(ignore_subscribe_messages=True)) as raw:
            raw.subscribe(self.keys.group("g"))
            assert raw.get_message(timeout=5) is None
            # The listener of these tests decodes what it hears.
            self._listens.unsubscribe(self.keys.group("g"))
            assert self._listens.get_message(timeout=5) is None
            assert self.publish(payload) == []
            assert raw.get_message(timeout=5)["data"] == HEAD.encode() + payload
        [element] = self.raw_redis.lrange(self.keys.queue("jobs"), 0, -1)
        assert element.partition(b":")[2] == payload

    def test_only_those_of_this_group(self) -> None:
        self.queue_join("jobs", group="g")
        self.queue_join("others", group="h")
        self.publish()
        assert self.queue("jobs") == ["m"]
        assert self.queue("others") == []
        self.heard()

    def test_behind_what_is_there(self) -> None:
        self.queue_join("jobs", capacity=10)
        self.push("jobs", "1", capacity=10)
        self.publish("2")
        self.push("jobs", "3", capacity=10)
        assert self.queue("jobs") == ["1", "2", "3"]
        self.heard()

    def test_lives_as_long_as_the_latest_message(self) -> None:
        self.queue_join("jobs", capacity=10)
        self.fill("jobs", "1")
        self.redis.pexpire(self.keys.queue("jobs"), 10_000)
        self.publish("2")
        assert self.lifetimes()["queue:jobs"] == 60
        self.heard()

    # Full ones

    def test_a_full_one_misses_it_and_the_others_do_not(self) -> None:
        self.queue_join("jobs", capacity=2)
        self.queue_join("others", capacity=3)
        for channel in ("jobs", "others"):
            self.fill(channel, "1", "2", age=YOUNG)
        assert self.publish("3") == ["jobs"]
        assert self.queue("jobs") == ["1", "2"]
        assert self.queue("others") == ["1", "2", "3"]
        assert self.heard() == [("g", HEAD + "3")]

    def test_a_full_one_loses_its_oldest(self) -> None:
        self.queue_join("jobs", capacity=2)
        self.fill("jobs", "1", "2", age=YOUNG)
        assert self.publish("3", overflow="old") == ["jobs"]
        assert self.queue("jobs") == ["2", "3"]
        self.heard()

    def test_one_that_holds_more_than_it_may_names_each_that_it_lost(self) -> None:
        """Its capacity was larger once."""
        self.queue_join("jobs", capacity=2)
        self.fill("jobs", "1", "2", "3", "4", age=YOUNG)
        assert self.publish("5", overflow="old") == ["jobs"] * 3
        assert self.queue("jobs") == ["4", "5"]
        assert self.publish("6", overflow="new") == ["jobs"]
        assert self.queue("jobs") == ["4", "5"]
        self.heard()

    @pytest.mark.parametrize("overflow", ["new", "old"])
    def test_what_has_expired_takes_no_room_and_is_not_lost(self, overflow: str) -> None:
        self.queue_join("jobs", capacity=2)
        self.fill("jobs", "1", age=OLD)
        self.fill("jobs", "2", age=YOUNG)
        assert self.publish("3", overflow=overflow) == []
        assert self.queue("jobs") == ["2", "3"]
        self.heard()

    # Memberships that have expired

    def test_a_membership_that_has_expired_ends(self) -> None:
        now = self.now()
        self.list_queues(gone=f"{now - 1}|2", stays=f"{now + 60_000}|2", endless="0|2")
        assert self.publish() == []
        assert set(self.members()) == {"#stays", "#endless"}
        assert [self.queue(name) for name in ("gone", "stays", "endless")] == [[], ["m"], ["m"]]
        assert "groups:gone" not in self.lifetimes()
        assert self.heard() == [("g", HEAD + "m")]

    def test_the_last_one_that_expires_takes_the_group_along(self) -> None:
        self.list_queues(gone=f"{self.now() - 1}|2")
        assert self.publish() == []
        assert self.lifetimes() == {}
        assert self.heard() == [("g", HEAD + "m")]

    def test_of_a_channel_in_two_groups_one_membership_ends(self) -> None:
        self.list_queues(jobs=f"{self.now() - 1}|2")
        self.queue_join("jobs", group="h")
        self.publish()
        assert self.redis.smembers(self.keys.groups("jobs")) == {"h"}
        assert set(self.members("h")) == {"#jobs"}
        self.heard()
