from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest

from channel_layers import LayerClosed
from channel_layers import inbox as inbox_module
from channel_layers.inbox import Inbox


class Clock:
    """Stands in for time.monotonic, so that a minute passes at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(inbox_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def make_inbox(expiry: float = 60, capacity: int = 100) -> Inbox:
    return Inbox(expiry, lambda channel: capacity)


def take_now(inbox: Inbox, channel: str) -> Any:
    """The next message of a channel that has one, without an event loop."""
    coroutine = inbox.take(channel)
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    return stopped.value.value


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_first_in_first_out() -> None:
    inbox = make_inbox()
    for number in range(5):
        assert inbox.put("a", number)
    assert [take_now(inbox, "a") for _ in range(5)] == [0, 1, 2, 3, 4]


def test_full_is_full_for_that_channel_alone() -> None:
    inbox = make_inbox(capacity=2)
    assert inbox.put("p!a", 1)
    assert inbox.put("p!a", 2)
    assert not inbox.put("p!a", 3)
    assert inbox.put("p!b", 1)
    assert inbox.arrived == 3
    take_now(inbox, "p!a")
    assert inbox.put("p!a", 4)


def test_a_group_message_is_dropped_for_the_full_member_alone(caplog: pytest.LogCaptureFixture) -> None:
    inbox = make_inbox(capacity=1)
    inbox.put("b", "old")
    for _ in range(50):
        inbox.put_each(["a", "b", "c"], "new")
    assert [take_now(inbox, channel) for channel in "abc"] == ["new", "old", "new"]
    assert inbox.dropped == {"full": 148}
    assert inbox.arrived == inbox.delivered + sum(inbox.dropped.values()) + inbox.unread()
    with caplog.at_level(logging.WARNING, "channel_layers"):
        inbox.drops.write()
    assert len(caplog.records) == 1
    assert "'b' (full)" in caplog.text


def test_a_new_burst_of_drops_is_logged_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    inbox = make_inbox(capacity=1, expiry=10_000)
    with caplog.at_level(logging.WARNING, "channel_layers"):
        for wait in (0, 5, 9, 11):
            clock.now += wait
            inbox.put_each(["a", "a"], "x")
            inbox.drops.write()
    assert len(caplog.records) == 2


def test_nothing_is_delivered_past_its_expiry(clock: Clock) -> None:
    inbox = make_inbox(expiry=0.5)
    inbox.put("a", 1)
    clock.now += 0.4
    inbox.put("a", 2)
    clock.now += 0.2
    assert take_now(inbox, "a") == 2
    assert inbox.dropped == {"expired": 1}


def test_what_has_expired_takes_no_room(clock: Clock) -> None:
    inbox = make_inbox(expiry=1, capacity=2)
    inbox.put("a", 1)
    inbox.put("a", 2)
    clock.now += 1
    assert inbox.put("a", 3)
    assert inbox.unread() == 1


def test_unread_messages_of_channels_that_nobody_reads_are_freed(clock: Clock) -> None:
    inbox = make_inbox(expiry=60)
    for number in range(5000):
        inbox.put(f"dead-{number}", number)
    inbox.put("busy", 0)
    clock.now += 61
    for _ in range(1000):  # each operation frees a few
        inbox.put("busy", 1)
        take_now(inbox, "busy")
    assert len(inbox._queues) <= 1 + inbox_module._PARKED_QUEUES
    assert len(inbox._due) <= 1 + inbox_module._PARKED_QUEUES
    assert inbox.dropped["expired"] == 5001


def test_a_busy_channel_does_not_shield_expired_ones_behind_it(clock: Clock) -> None:
    inbox = make_inbox(expiry=60)
    inbox.put("busy", 0)
    inbox.put("dead", 0)
    for _ in range(40):
        clock.now += 5
        inbox.put("busy", 0)
        take_now(inbox, "busy")
    assert inbox.dropped == {"expired": 1}


def test_groups_that_come_and_go_leave_nothing(clock: Clock) -> None:
    inbox = make_inbox(expiry=1)
    for room in range(50):
        inbox.put_each([f"room-{room}-{number}" for number in range(100)], "nobody reads")
        clock.now += 1
    assert len(inbox._queues) <= 100 + 2 * inbox_module._PARKED_QUEUES


def test_who_only_receives_frees_as_well(clock: Clock) -> None:
    inbox = make_inbox(expiry=1)
    for number in range(1000):
        inbox.put(f"dead-{number}", number)
    clock.now += 1
    for _ in range(200):
        assert inbox.claim("other") is None
    assert inbox.dropped["expired"] == 1000


def test_a_user_error_in_get_capacity_sends_to_nobody() -> None:
    inbox = Inbox(60, {"a": 5, "c": 5}.__getitem__)
    with pytest.raises(KeyError):
        inbox.put_each(["a", "b", "c"], "x")
    assert inbox.unread() == inbox.arrived == 0
    inbox.put_each(["a", "c"], "x")
    assert inbox.unread() == 2


def test_memory_follows_what_is_unread() -> None:
    inbox = make_inbox()
    for number in range(10_000):
        inbox.put(f"once-{number}", number)
        take_now(inbox, f"once-{number}")
    assert len(inbox._queues) == len(inbox._due) == len(inbox._parked) == inbox_module._PARKED_QUEUES


@pytest.mark.asyncio
async def test_memory_follows_who_waits() -> None:
    inbox = make_inbox()
    for number in range(2000):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(inbox.take(f"reply-{number}"), 0)
        waiting = asyncio.ensure_future(inbox.take(f"p{number}!"))
        await steps(1)
        waiting.cancel()
        await steps(2)
    assert len(inbox._queues) <= inbox_module._PARKED_QUEUES
    assert not inbox._prefixes


def test_a_prefix_gives_all_its_channels_in_order_of_arrival() -> None:
    inbox = make_inbox()
    for number, channel in enumerate(["p!a", "p!b", "p!a", "q!a", "p!", "p!b"]):
        inbox.put(channel, number)
    assert take_now(inbox, "p!") == 0
    inbox.put("p!c", 6)
    assert take_now(inbox, "p!a") == 2
    assert [take_now(inbox, "p!") for _ in range(4)] == [1, 4, 5, 6]
    assert take_now(inbox, "q!a") == 3


def test_prefixes_come_and_go_with_their_queues() -> None:
    inbox = make_inbox()
    for number in range(inbox_module._PARKED_QUEUES + 500):
        inbox.put(f"reply-{number}!a", number)
        assert take_now(inbox, f"reply-{number}!") == number
    assert len(inbox._prefixes) == len(inbox._queues) == inbox_module._PARKED_QUEUES


def test_a_prefix_that_is_not_received_on_keeps_no_order() -> None:
    inbox = make_inbox()
    inbox.put("p!a", 0)
    assert inbox._prefixes["p!"].items is None


def test_a_prefix_index_holds_no_more_than_is_unread(clock: Clock) -> None:
    inbox = make_inbox(expiry=10)
    inbox.put("p!a", 0)
    assert take_now(inbox, "p!") == 0
    for number in range(1000):
        inbox.put("p!a", number)
        assert take_now(inbox, "p!a") == number
    inbox.put("p!b", "dies")
    clock.now += 11
    inbox.put("p!c", "lives")
    assert inbox.unread() == 1
    arrivals = inbox._prefixes["p!"].items
    assert arrivals is not None
    assert len(arrivals) == 1
    inbox.discard("p!c")
    assert not arrivals


@pytest.mark.asyncio
async def test_a_prefix_receiver_and_a_direct_one_are_both_woken() -> None:
    inbox = make_inbox()
    by_prefix = asyncio.ensure_future(inbox.take("p!"))
    direct = asyncio.ensure_future(inbox.take("p!a"))
    await steps(1)
    inbox.put("p!a", 1)
    inbox.put("p!a", 2)
    assert sorted([await asyncio.wait_for(by_prefix, 10), await asyncio.wait_for(direct, 10)]) == [1, 2]


@pytest.mark.asyncio
@pytest.mark.parametrize("channel", ["a", "p!a", "p!"])
async def test_a_woken_receiver_that_is_cancelled_wakes_the_next(channel: str) -> None:
    inbox = make_inbox()
    first, second = (asyncio.ensure_future(inbox.take(channel)) for _ in range(2))
    await steps(1)
    inbox.put("a" if channel == "a" else "p!a", "message")
    first.cancel()
    assert await asyncio.wait_for(second, 10) == "message"
    assert first.cancelled()


@pytest.mark.asyncio
async def test_receivers_are_served_in_the_order_in_which_they_came() -> None:
    inbox = make_inbox()
    waiting = [asyncio.ensure_future(inbox.take("a")) for _ in range(5)]
    await steps(1)
    for number in range(5):
        inbox.put("a", number)
    assert await asyncio.gather(*waiting) == [0, 1, 2, 3, 4]


@pytest.mark.asyncio
async def test_who_is_woken_in_vain_keeps_his_place() -> None:
    inbox = make_inbox()
    first, second = (asyncio.ensure_future(inbox.take("a")) for _ in range(2))
    await steps(1)
    inbox.put("a", "stolen")
    assert take_now(inbox, "a") == "stolen"  # before the woken one runs
    await steps(2)
    inbox.put("a", "next")
    await steps(2)
    assert first.result() == "next"
    assert not second.done()
    second.cancel()


@pytest.mark.asyncio
async def test_a_wait_that_ends_after_close_asks_for_no_capacity() -> None:
    """A user's get_capacity() may raise, and then the inbox was locked for good."""
    capacities = [100]
    inbox = Inbox(60, lambda channel: capacities.pop())
    lost = inbox.take("a")
    lost.send(None)
    with inbox.lock:
        inbox.close()
    lost.close()
    assert not inbox.lock.locked()


@pytest.mark.asyncio
async def test_a_receive_that_was_thrown_away_swallows_nothing() -> None:
    inbox = make_inbox()
    lost = inbox.take("a")
    lost.send(None)
    alive = asyncio.ensure_future(inbox.take("a"))
    await steps(1)
    lost.close()
    del lost
    gc.collect()
    inbox.put("a", "message")
    assert await asyncio.wait_for(alive, 10) == "message"


@pytest.mark.asyncio
async def test_a_receive_that_was_thrown_away_after_it_was_woken_wakes_the_next() -> None:
    inbox = make_inbox()
    lost = inbox.take("a")
    lost.send(None)
    alive = asyncio.ensure_future(inbox.take("a"))
    await steps(1)
    inbox.put("a", "message")
    lost.close()
    assert await asyncio.wait_for(alive, 10) == "message"


@pytest.mark.asyncio
async def test_a_receive_may_be_thrown_away_while_the_inbox_is_locked() -> None:
    inbox = make_inbox()
    lost = inbox.take("a")
    lost.send(None)
    with inbox.lock:
        lost.close()  # as the garbage collector may do at any allocation


def test_a_loop_that_stopped_does_not_swallow_the_message_of_a_living_one() -> None:
    inbox = make_inbox()
    stopped = asyncio.new_event_loop()
    forgotten = stopped.create_task(inbox.take("a"))
    stopped.run_until_complete(steps(2))

    async def receive() -> Any:
        waiting = asyncio.ensure_future(inbox.take("a"))
        await steps(2)
        inbox.put("a", "message")
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(receive()) == "message"
    forgotten.cancel()
    stopped.run_until_complete(asyncio.gather(forgotten, return_exceptions=True))
    stopped.close()


def test_a_loop_that_was_closed_is_forgotten() -> None:
    inbox = make_inbox()
    closed = asyncio.new_event_loop()
    coroutine = inbox.take("a")
    forgotten = closed.create_task(coroutine)
    closed.run_until_complete(steps(2))
    closed.close()
    inbox.put("a", "message")
    assert not inbox._queues["a"].waiters.any()
    assert take_now(inbox, "a") == "message"
    forgotten._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()


def test_a_message_from_another_thread_wakes_the_receiver_at_once() -> None:
    inbox = make_inbox()

    def put() -> None:
        with inbox.lock:
            inbox.put("a", "message")

    async def receive() -> Any:
        waiting = asyncio.ensure_future(inbox.take("a"))
        await steps(1)
        thread = threading.Thread(target=put)
        thread.start()
        thread.join()
        return await asyncio.wait_for(waiting, 10)

    assert asyncio.run(receive()) == "message"


@pytest.mark.asyncio
async def test_close_ends_who_waits_and_leaves_it_usable() -> None:
    inbox = make_inbox()
    waiting = [asyncio.ensure_future(inbox.take(channel)) for channel in ("a", "a", "p!a", "p!")]
    await steps(1)
    inbox.put("b", "unread")
    inbox.close()
    inbox.put("a", "afterwards")
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [LayerClosed] * 4
    assert take_now(inbox, "a") == "afterwards"
    assert inbox.dropped == {"closed": 1}


@pytest.mark.asyncio
async def test_close_ends_what_has_not_begun_to_wait() -> None:
    inbox = make_inbox()
    waiting = inbox.take("a")
    with inbox.lock:
        inbox.close()
    with pytest.raises(LayerClosed):
        await asyncio.wait_for(waiting, 10)


@pytest.mark.asyncio
async def test_who_waits_goes_on_after_clear() -> None:
    inbox = make_inbox()
    waiting = asyncio.ensure_future(inbox.take("a"))
    await steps(1)
    inbox.put("a", "cleared")
    inbox.clear("flushed")
    await steps(2)
    inbox.put("a", "kept")
    assert await asyncio.wait_for(waiting, 10) == "kept"
    assert inbox.dropped == {"flushed": 1}
    assert inbox.unread() == 0
