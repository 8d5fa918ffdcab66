from __future__ import annotations

import pytest

from channel_layers import groups as groups_module
from channel_layers.groups import Groups


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(groups_module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_members_in_the_order_in_which_they_joined() -> None:
    groups = Groups(60)
    for channel in "abca":
        groups.add("group", channel)
    assert list(groups.members("group")) == ["b", "c", "a"]
    groups.discard("group", "c")
    groups.discard("group", "stranger")
    groups.discard("other", "a")
    assert list(groups.members("group")) == ["b", "a"]
    assert list(groups.members("other")) == []


def test_a_membership_lasts_until_its_expiry_and_adding_renews_it(clock: Clock) -> None:
    groups = Groups(10)
    groups.add("group", "a")
    groups.add("group", "b")
    clock.now += 6
    groups.add("group", "a")
    clock.now += 6
    assert list(groups.members("group")) == ["a"]
    clock.now += 6
    assert list(groups.members("group")) == []
    assert not groups._members
    assert not groups._groups_of
    assert not groups._due


def test_none_lasts(clock: Clock) -> None:
    groups = Groups(None)
    groups.add("group", "a")
    clock.now += 1e9
    groups.add("other", "b")
    assert list(groups.members("group")) == ["a"]


def test_members_of_groups_that_nobody_sends_to_are_freed(clock: Clock) -> None:
    groups = Groups(10)
    for number in range(1000):
        groups.add(f"dead-{number}", f"channel-{number}")
    clock.now += 11
    for _ in range(300):
        groups.add("busy", "a")
    assert len(groups._members) == len(groups._due) == len(groups._groups_of) == 1


def test_a_busy_group_does_not_shield_dead_ones(clock: Clock) -> None:
    groups = Groups(10)
    groups.add("busy", "a")
    groups.add("dead", "b")
    for _ in range(10):
        clock.now += 4
        groups.add("busy", "a")
    assert "dead" not in groups._members


def test_a_channel_leaves_all_its_groups() -> None:
    groups = Groups(10)
    for group in ("x", "y"):
        groups.add(group, "a")
        groups.add(group, "b")
    groups.discard_channel("a")
    groups.discard_channel("stranger")
    assert [list(groups.members(group)) for group in ("x", "y")] == [["b"], ["b"]]
    groups.clear()
    assert not groups._groups_of
