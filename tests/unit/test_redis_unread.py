"""The inbox of a Redis client: the places it gives back, what it takes back, and how a crowd is woken."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from channel_layers.redis.queue.counted import FULL, CountedInbox
from channel_layers.redis.unread import Popped


class Freed:
    """What the inbox tells of places that have become free."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        #: Unread messages and capacity of the channel, as told the last time.
        self.room = (0, 0)

    def __call__(self, channel: str, places: int, unread: int, capacity: int) -> None:
        self._places[channel] = self._places.get(channel, 0) + places
        self.room = unread, capacity

    def take(self) -> dict[str, int]:
        places, self._places = self._places, {}
        return places


def anybody(_: str) -> bool:
    return True


def make_inbox(capacity: int = 100, drop_old: bool = False) -> tuple[CountedInbox, Freed]:
    freed = Freed()
    return CountedInbox(60, lambda channel: capacity, freed, drop_old), freed


def later() -> float:
    return time.monotonic() + 60


def test_a_direct_message_frees_its_place_when_it_is_taken() -> None:
    inbox, freed = make_inbox()
    for payload in (b"1", b"2"):
        inbox.deliver("p!a", payload, later())
    assert freed.take() == {}
    assert inbox.claim("p!a") == b"1"
    assert (freed.take(), freed.room) == ({"p!a": 1}, (1, 100))
    assert inbox.claim("p!a") == b"2"
    assert (freed.take(), freed.room) == ({"p!a": 1}, (0, 100))


def test_what_is_dropped_frees_its_place_too() -> None:
    inbox, freed = make_inbox(capacity=1)
    inbox.deliver("p!a", b"1", later())
    inbox.deliver("p!a", b"too many", later())
    assert freed.take() == {"p!a": 1}
    inbox.discard("p!a")
    assert freed.take() == {"p!a": 1}
    inbox.deliver("p!a", b"old", time.monotonic() - 1)
    assert inbox.claim("p!a") is None
    assert freed.take() == {"p!a": 1}
    assert inbox.dropped == {"full": 1, "discarded": 1, "expired": 1}


def test_group_messages_that_fill_a_channel_flag_it() -> None:
    inbox, freed = make_inbox(capacity=2)
    inbox.deliver("p!a", b"direct", later())
    inbox.deliver("p!a", object(), later())
    assert freed.take() == {"p!a": -FULL}
    assert inbox.count_direct(anybody) == {"p!a": FULL + 1}
    assert inbox.count_direct(lambda channel: channel != "p!a") == {}
    assert inbox.claim("p!a") == b"direct"
    assert freed.take() == {"p!a": FULL + 1}
    assert inbox.count_direct(anybody) == {}


def test_direct_messages_alone_need_no_flag() -> None:
    inbox, freed = make_inbox(capacity=1)
    inbox.deliver("p!a", b"direct", later())
    assert freed.take() == {}


def test_drop_old_keeps_the_newest() -> None:
    inbox, _ = make_inbox(capacity=2, drop_old=True)
    for payload in (b"1", b"2", b"3"):
        inbox.deliver("p!a", payload, later())
    assert [inbox.claim("p!a"), inbox.claim("p!a")] == [b"2", b"3"]
    assert inbox.dropped == {"full": 1}
    assert inbox.arrived == inbox.delivered + sum(inbox.dropped.values())


def test_what_was_popped_is_given_away_newest_first_and_in_order() -> None:
    inbox, _ = make_inbox()
    for element in (b"1", b"2", b"3"):
        inbox.deliver_popped("jobs", Popped(element, b"", None), later())
    assert [popped.element for popped in inbox.give_away("jobs", 1)] == [b"2", b"3"]
    assert inbox.held("jobs") == 1
    assert [popped.element for popped in inbox.give_away("jobs")] == [b"1"]
    assert inbox.give_away("jobs") == []
    assert (inbox.arrived, inbox.unread()) == (0, 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("members", [3, 500])
async def test_everybody_in_a_crowd_is_woken(members: int) -> None:
    inbox, _ = make_inbox()
    channels = [f"p!{number}" for number in range(members)]
    waiting = [asyncio.create_task(inbox.take(channel)) for channel in channels]
    await asyncio.sleep(0)
    payload = object()
    with inbox.lock:
        inbox.deliver_to_each(channels, payload, later())
    assert await asyncio.wait_for(asyncio.gather(*waiting), 10) == [payload] * members


@pytest.mark.asyncio
async def test_each_message_to_a_crowd_wakes_one_of_those_who_wait_for_the_same() -> None:
    inbox, _ = make_inbox()
    channels = [f"p!{number}" for number in range(500)]
    waiting = [asyncio.create_task(inbox.take(channels[0])) for _ in range(3)]
    await asyncio.sleep(0)
    with inbox.lock:
        for n in range(3):
            inbox.deliver_to_each(channels, n, later())
    assert sorted(await asyncio.wait_for(asyncio.gather(*waiting), 10)) == [0, 1, 2]


@pytest.mark.asyncio
async def test_a_crowd_lets_others_run_in_between() -> None:
    inbox, _ = make_inbox()
    channels = [f"p!{number}" for number in range(500)]
    waiting = [asyncio.create_task(inbox.take(channel)) for channel in channels]
    await asyncio.sleep(0)
    with inbox.lock:
        inbox.deliver_to_each(channels, "first", later())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = sum(task.done() for task in waiting)
    assert 0 < done < 500
    with inbox.lock:
        inbox.deliver_to_each(channels, "second", later())
    assert set(await asyncio.wait_for(asyncio.gather(*waiting), 10)) == {"first"}
    second = [asyncio.create_task(inbox.take(channel)) for channel in channels]
    assert set(await asyncio.wait_for(asyncio.gather(*second), 10)) == {"second"}


@pytest.mark.asyncio
async def test_those_left_when_a_loop_ends_are_woken_at_once() -> None:
    inbox, _ = make_inbox()
    channels = [f"p!{number}" for number in range(500)]

    def deliver_and_end() -> None:
        async def work() -> None:
            with inbox.lock:
                inbox.deliver_to_each(channels, "message", later())

        loop = asyncio.new_event_loop()
        loop.run_until_complete(work())
        loop.close()

    waiting: list[asyncio.Task[Any]] = [asyncio.create_task(inbox.take(channel)) for channel in channels]
    await asyncio.sleep(0)
    await asyncio.to_thread(deliver_and_end)
    with inbox.lock:
        inbox.wake_unwoken()
    assert set(await asyncio.wait_for(asyncio.gather(*waiting), 10)) == {"message"}


@pytest.mark.asyncio
async def test_an_announcement_reaches_who_waits_who_holds_messages_and_who_is_named() -> None:
    inbox, _ = make_inbox(capacity=1)
    waiting = asyncio.create_task(inbox.take("p!waits"))
    busy = asyncio.create_task(inbox.take("p!busy"))
    await asyncio.sleep(0)
    with inbox.lock:
        inbox.deliver("p!busy", b"work", later())
        inbox.deliver("p!full", b"unread", later())
    assert await busy == b"work"
    with inbox.lock:
        assert set(inbox.announce(b"lost")) == {"p!waits", "p!full"}
        assert set(inbox.announce(b"back", {"p!busy", "p!new"})) == {"p!waits", "p!full", "p!busy", "p!new"}
    assert await waiting == b"lost"
    assert [inbox.claim("p!full") for _ in range(4)] == [b"unread", b"lost", b"back", None]
    assert inbox.claim("p!busy") == inbox.claim("p!new") == inbox.claim("p!waits") == b"back"
    assert inbox.arrived == inbox.delivered


def test_what_came_for_this_process_only_is_not_given_back() -> None:
    """A notice among messages that were popped for those who waited, and do so no longer."""
    inbox, _ = make_inbox()
    popped = [Popped(b"e%d" % n, b"%d" % n, None) for n in range(3)]
    inbox.deliver_popped("jobs", popped[0], later())
    inbox.announce(b"notice")
    inbox.deliver_popped("jobs", popped[1], later())
    inbox.deliver_popped("jobs", popped[2], later())
    assert inbox.give_away("jobs", keep=3) == [popped[2]]
    assert inbox.give_away("jobs") == [popped[0], popped[1]]
    assert inbox.give_away("jobs") == []
    assert inbox.claim("jobs") == b"notice"
    assert inbox.claim("jobs") is None
    assert (inbox.arrived, inbox.delivered, inbox.dropped) == (1, 1, {})


def test_a_notice_for_a_channel_that_the_inbox_is_about_to_forget() -> None:
    """What has expired in more channels than the inbox remembers makes it forget others while it looks for them."""
    inbox, _ = make_inbox()
    for n in range(5_000):
        inbox.deliver(f"p!{n}", b"old", time.monotonic() - 1)
    inbox.deliver("p!warned", b"1", later())
    assert inbox.claim("p!warned") == b"1"
    assert inbox.announce(b"notice", ["p!warned"]) == ["p!warned"]
    assert inbox.claim("p!warned") == b"notice"


@pytest.mark.asyncio
@pytest.mark.parametrize("count", [3, 200])
async def test_a_capacity_that_fails_costs_the_others_of_its_group_nothing(count: int) -> None:
    def capacity_of(channel: str) -> int:
        if channel == "p!0":
            raise RuntimeError("no capacity for you")
        return 100

    inbox = CountedInbox(60, capacity_of, Freed(), False)
    channels = [f"p!{n}" for n in range(count)]
    receivers = [asyncio.ensure_future(inbox.take(channel)) for channel in channels[1:]]
    await asyncio.sleep(0)
    with inbox.lock, pytest.raises(RuntimeError, match="no capacity for you"):
        inbox.deliver_to_each(channels, b"1", later())
    assert await asyncio.wait_for(asyncio.gather(*receivers), 10) == [b"1"] * (count - 1)
