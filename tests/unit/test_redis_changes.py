"""Changes of memberships are applied in their order, whatever a server loses and finds again."""

from __future__ import annotations

import pytest

from channel_layers.redis.queue.changes import Change, Changes

JOIN, LEAVE, OTHER = Change("join", "room", "a"), Change("leave", "room", "a"), Change("join", "room", "b")


@pytest.fixture
def changes() -> Changes:
    return Changes()


def read(changes: Changes, *numbers: int) -> list[bool]:
    """Read entries: whether each is to be applied."""
    taken = [changes.takes((number, 0)) for number in numbers]
    changes.have_been_applied()
    changes.forget_read()
    return taken


def promise(changes: Changes, *promised: tuple[int, Change]) -> None:
    for number, change in promised:
        changes.promise((number, 0), change)


def test_what_was_applied_is_not_applied_again(changes: Changes) -> None:
    """The server comes back with the join, and has lost the leaving."""
    assert read(changes, 1, 2) == [True, True]
    assert changes.position == (2, 0)
    assert changes.start_anew() == []
    assert changes.position == (0, 0)
    assert read(changes, 1, 3) == [False, True]
    changes.start_anew()
    assert read(changes, 1, 2, 3, 4) == [False, False, False, True]


def test_what_was_applied_long_ago_is_not_applied_again(changes: Changes) -> None:
    """A server comes back as it was before more changes than are remembered one by one."""
    count = 3000
    assert all(read(changes, *range(1, count + 1)))
    promise(changes, (count + 1, JOIN))
    changes.start_anew()
    assert not any(read(changes, 1, count // 2, count))
    assert read(changes, count + 1, count + 2) == [True, True]


def test_what_was_never_read_is_applied_even_if_much_was_that_came_later(changes: Changes) -> None:
    """A server whose clock is behind takes over: its positions are older than what was applied."""
    read(changes, *range(1001, 4001))
    changes.start_anew()
    promise(changes, (1, JOIN))
    assert read(changes, 1, 2) == [True, False]
    changes.flushed()
    assert read(changes, 1, 2) == [True, True], "a flush leaves nothing that was applied"


def test_what_was_never_read_is_applied_after_a_second_loss(changes: Changes) -> None:
    promise(changes, (1, JOIN))
    changes.start_anew()
    read(changes, *range(2, 3001))
    changes.start_anew()
    assert read(changes, 1, 2) == [True, False]


def test_what_was_made_up_late_hides_nothing_that_was_applied_before(changes: Changes) -> None:
    promise(changes, (1, JOIN))
    changes.start_anew()
    read(changes, *range(2, 3001))
    changes.read_again()
    assert changes.take_lost() == [JOIN]
    read(changes, *range(3001, 4001))
    changes.start_anew()
    assert not any(read(changes, 1, 2000, 3000, 4000))


def test_who_waits_for_what_a_flush_has_emptied_is_called_back(changes: Changes) -> None:
    called = []
    changes.when_applied((1, 0), lambda: called.append(1))
    assert not called
    changes.flushed()
    assert called == [1]
    read(changes, 1)
    assert called == [1]


def test_what_was_promised_is_applied_at_once_in_its_order(changes: Changes) -> None:
    promise(changes, (2, LEAVE), (1, JOIN))
    assert changes.take_lost() == []
    assert changes.start_anew() == [JOIN, LEAVE]


def test_what_was_lost_is_applied_again_in_its_place(changes: Changes) -> None:
    promise(changes, (1, JOIN), (2, LEAVE), (4, OTHER), (6, JOIN))
    changes.start_anew()
    assert changes.take_lost() == [], "what comes was asked for before the loss"
    changes.read_again()
    assert changes.take_lost_before((1, 0)) == []
    assert changes.takes((1, 0))
    assert changes.take_lost_before((3, 0)) == [LEAVE], "and not the join, which was read"
    assert changes.takes((3, 0))
    assert changes.take_lost() == [OTHER, JOIN]
    assert changes.take_lost() == []


@pytest.mark.parametrize("settled", [True, False])
def test_a_second_loss(changes: Changes, settled: bool) -> None:
    """What was lost counts as applied: if the server finds it after all, it is not applied again."""
    promise(changes, (1, JOIN), (2, LEAVE))
    changes.start_anew()
    if settled:
        changes.read_again()
        changes.take_lost()
    promise(changes, (3, OTHER))
    assert changes.start_anew() == [OTHER], "the others were applied"
    changes.read_again()
    assert changes.take_lost() == ([OTHER] if settled else [JOIN, LEAVE, OTHER])
    changes.start_anew()
    assert read(changes, 1, 2, 3) == [False] * 3


@pytest.mark.parametrize("promised", ["before", "after"])
def test_what_was_read_is_not_promised_any_more(changes: Changes, promised: str) -> None:
    """The reader may come to a change earlier than the verb that made it hears of it."""
    if promised == "before":
        promise(changes, (1, JOIN))
    assert read(changes, 1) == [True]
    if promised == "after":
        promise(changes, (1, JOIN))
    assert changes.start_anew() == []


def test_what_was_passed_by_is_not_promised_any_more(changes: Changes) -> None:
    """A flush has removed it."""
    promise(changes, (1, JOIN), (3, OTHER))
    assert read(changes, 2) == [True]
    assert changes.start_anew() == [OTHER]


@pytest.mark.parametrize("losses", [0, 1, 2])
@pytest.mark.parametrize("is_flushed", [False, True])
def test_a_void_join_is_not_applied(changes: Changes, losses: int, is_flushed: bool) -> None:
    promise(changes, (1, JOIN), (2, OTHER), (3, LEAVE))
    changes.void_joins("a", True)
    for loss in range(losses):
        assert changes.start_anew() == ([] if loss else [OTHER, LEAVE])
    if is_flushed:
        changes.flushed()
    changes.read_again()
    assert read(changes, 1, 2, 3) == [False, True, True]
    changes.start_anew()
    assert read(changes, 1, 4) == [False, True]


def test_a_join_becomes_void_after_a_loss(changes: Changes) -> None:
    promise(changes, (1, JOIN), (2, OTHER))
    changes.start_anew()
    changes.read_again()
    changes.void_joins("a", True)
    assert read(changes, 1) == [False]
    assert changes.take_lost() == [OTHER]


def test_the_clock_of_a_server_that_took_over_is_behind(changes: Changes) -> None:
    """What it confirms comes after what was confirmed before, though its number is lower."""
    promise(changes, (10, JOIN), (11, LEAVE))
    changes.start_anew()
    changes.read_again()
    promise(changes, (5, JOIN))
    assert changes.take_lost_before((5, 0)) == [JOIN, LEAVE]
    assert read(changes, 5) == [True]
    assert changes.take_lost() == []


def test_a_void_join_that_was_passed_by_stays_void(changes: Changes) -> None:
    """The server has lost it, and comes back with it at the next loss."""
    promise(changes, (1, JOIN))
    changes.void_joins("a", True)
    changes.start_anew()
    changes.read_again()
    assert read(changes, 2) == [True]
    changes.start_anew()
    assert read(changes, 1) == [False]


def test_after_a_flush_all_is_applied(changes: Changes) -> None:
    """It was written after the flush, even if it was read before the flush was heard of."""
    assert read(changes, 1) == [True]
    promise(changes, (2, JOIN))
    changes.start_anew()
    changes.flushed()
    changes.read_again()
    assert changes.position == (0, 0)
    assert changes.take_lost() == []
    assert read(changes, 1, 2) == [True, True]
    changes.flushed()
    assert changes.position == (0, 0)


def test_what_was_promised_before_a_flush_is_not_applied_at_the_next_loss(changes: Changes) -> None:
    promise(changes, (1, JOIN))
    changes.start_anew()
    changes.flushed()
    assert changes.start_anew() == []
    changes.read_again()
    assert changes.take_lost() == []


@pytest.mark.parametrize("heard", ["before the end", "after it"])
def test_a_flush_brings_no_ended_channel_back(changes: Changes, heard: str) -> None:
    """Its joins are read again, be it one that was void or one that was applied; a new one counts."""
    promise(changes, (2, JOIN))
    read(changes, 1)
    if heard == "after it":
        changes.void_joins("a", True)
    read(changes, 2)
    changes.start_anew()
    changes.flushed(read_before=(2, 0))
    if heard == "before the end":
        changes.void_joins("a", True)
    assert [changes.has_ended((number, 0), "a") for number in (1, 2, 3)] == [True, True, False]
    assert not changes.has_ended((1, 0), "b")
    changes.read_again()
    changes.take_lost()
    assert not changes.has_ended((1, 0), "a"), "all was read again: that is new, and the clock is another one"


def test_a_second_loss_ends_the_reading_again(changes: Changes) -> None:
    promise(changes, (1, JOIN))
    changes.flushed(read_before=(2, 0))
    changes.void_joins("a", True)
    assert changes.has_ended((1, 0), "a")
    changes.start_anew()
    assert not changes.has_ended((1, 0), "a")


def test_what_was_read_since_the_loss_is_read_again(changes: Changes) -> None:
    read(changes, 1, 2)
    changes.start_anew()
    changes.flushed(read_before=(2, 0))
    read(changes, 3)
    changes.read_again()
    assert changes.position == (0, 0)
    changes.void_joins("a", False)
    assert [changes.has_ended((number, 0), "a") for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert read(changes, 1, 2, 3) == [True, True, True]


def test_what_was_asked_for_before_the_loss_forgets_nothing(changes: Changes) -> None:
    promise(changes, (1, JOIN))
    changes.void_joins("a", False)
    changes.start_anew()
    changes.flushed()
    assert read(changes, 1) == [False]
    assert changes.keep_from() == ""
    changes.read_again()
    assert read(changes, 1) == [False]
    assert changes.keep_from() == "1-1"
    changes.read_again()
    assert changes.position == (1, 0), "only once"


def test_without_a_flush_nothing_that_was_read_before_is_read_again(changes: Changes) -> None:
    read(changes, 1)
    changes.start_anew()
    read(changes, 3)
    changes.read_again()
    assert changes.position == (3, 0)
    changes.void_joins("a", True)
    assert not changes.has_ended((1, 0), "a")


def test_a_channel_that_was_never_there_is_not_remembered(changes: Changes) -> None:
    read(changes, 1)
    changes.void_joins("a", False)
    assert not changes._ended
    promise(changes, (2, JOIN))
    changes.void_joins("a", False)
    assert changes._ended


def test_who_waits_is_called_when_it_was_applied(changes: Changes) -> None:
    called: list[int] = []
    changes.when_applied((2, 0), lambda: called.append(2))
    changes.when_applied((3, 0), lambda: called.append(3))
    read(changes, 2)
    assert called == [2]
    changes.when_applied((1, 0), lambda: called.append(1))
    assert called == [2, 1]
    changes.start_anew()
    assert called == [2, 1, 3]
    read(changes, 4)
    assert called == [2, 1, 3]


def test_what_is_remembered_is_bounded(changes: Changes) -> None:
    for n in range(1, 5001):
        promise(changes, (n, JOIN))
        if n % 2:
            changes.void_joins("a", True)
        changes.void_joins(f"a{n}", True)
        read(changes, n)
    assert (len(changes._promised), len(changes._void)) == (0, 0)
    assert (len(changes._applied), len(changes._ended)) == (1000, 1000)
