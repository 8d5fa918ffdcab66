"""Changes of memberships are applied once, whatever a server loses and finds again."""

from __future__ import annotations

import pytest

from channel_layers.redis.queue.changes import Change, Changes

JOIN, LEAVE = Change("join", "room", "a"), Change("leave", "room", "a")


@pytest.fixture
def changes() -> Changes:
    return Changes()


def test_each_is_taken_once(changes: Changes) -> None:
    assert [changes.takes(entry) for entry in [(1, 0), (1, 1), (1, 0), (1, 1), (2, 0)]] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert changes.position == (2, 0)


def test_what_was_applied_is_not_applied_again(changes: Changes) -> None:
    """The server comes back with the join, and has lost the leaving."""
    assert changes.takes((1, 0))
    assert changes.takes((2, 0))
    assert changes.start_anew() == []
    assert not changes.takes((1, 0))
    assert changes.takes((3, 0))


@pytest.mark.parametrize("losses", [1, 2])
def test_what_was_promised_is_applied_once(changes: Changes, losses: int) -> None:
    """A server that comes back with the join, and has lost the leaving, does not bring the member back."""
    changes.promise((1, 0), JOIN)
    changes.promise((2, 0), LEAVE)
    assert changes.start_anew() == [JOIN, LEAVE]
    for _ in range(losses - 1):
        changes.have_been_read()
        assert changes.start_anew() == []
    assert not changes.takes((1, 0))


@pytest.mark.parametrize("promised", ["before", "after"])
def test_what_was_read_is_not_applied_again(changes: Changes, promised: str) -> None:
    """The reader may come to a change earlier than the verb that made it hears of it."""
    if promised == "before":
        changes.promise((1, 0), JOIN)
    assert changes.takes((1, 0))
    changes.have_been_read()
    if promised == "after":
        changes.promise((1, 0), JOIN)
    assert changes.start_anew() == []


@pytest.mark.parametrize("losses", [0, 1, 2])
def test_a_void_join_is_not_applied(changes: Changes, losses: int) -> None:
    changes.promise((1, 0), JOIN)
    changes.promise((2, 0), Change("join", "room", "b"))
    changes.promise((3, 0), LEAVE)
    changes.void_joins("a")
    for loss in range(losses):
        assert changes.start_anew() == ([] if loss else [Change("join", "room", "b"), LEAVE])
    assert not changes.takes((1, 0))
    assert changes.takes((2, 0)) is (losses == 0)


def test_who_waits_is_called_when_it_was_read(changes: Changes) -> None:
    called: list[int] = []
    changes.when_read((2, 0), lambda: called.append(2))
    changes.when_read((3, 0), lambda: called.append(3))
    changes.takes((2, 0))
    changes.have_been_read()
    assert called == [2]
    changes.when_read((1, 0), lambda: called.append(1))
    assert called == [2, 1]
    changes.start_anew()
    assert called == [2, 1, 3]
    changes.takes((4, 0))
    changes.have_been_read()
    assert called == [2, 1, 3]


def test_what_is_remembered_is_bounded(changes: Changes) -> None:
    for n in range(1, 5001):
        changes.promise((n, 0), JOIN)
        if n % 2:
            changes.void_joins("a")
        changes.takes((n, 0))
        changes.have_been_read()
    assert (len(changes._promised), len(changes._to_skip), len(changes._settled)) == (0, 0, 1000)
