"""Memberships with positions: who gets which message of a mailbox."""

from __future__ import annotations

from typing import Any

import pytest

from channel_layers import groups as groups_module
from channel_layers.redis.queue.membership import START, Memberships


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(groups_module, "time", clock)
    return clock


def reached(memberships: Memberships, group: str, *position: int) -> list[Any]:
    return sorted(memberships.reached(group, (position[0], position[1])))


def test_a_member_gets_what_comes_after_its_joining_and_up_to_its_leaving() -> None:
    memberships = Memberships(None)
    memberships.join("g", "a", (5, 0))
    memberships.join("g", "b", (7, 1))
    assert reached(memberships, "g", 5, 0) == []
    assert reached(memberships, "g", 5, 1) == ["a"]
    assert reached(memberships, "g", 7, 2) == ["a", "b"]
    memberships.leave("g", "a", (9, 0))
    assert reached(memberships, "g", 9, 0) == ["a", "b"]
    assert reached(memberships, "g", 9, 1) == ["b"]
    memberships.pass_by((9, 0))
    assert memberships._departed == {}


def test_joining_again_renews_and_does_not_move_the_position() -> None:
    memberships = Memberships(None)
    memberships.join("g", "a", (5, 0))
    memberships.join("g", "a", (8, 0))
    assert reached(memberships, "g", 6, 0) == ["a"]


def test_leaving_and_coming_back_leaves_a_gap() -> None:
    memberships = Memberships(None)
    memberships.join("g", "a", (1, 0))
    memberships.leave("g", "a", (2, 0))
    memberships.join("g", "a", (4, 0))
    assert [reached(memberships, "g", ms, 0) for ms in (2, 3, 4, 5)] == [["a"], [], [], ["a"]]


def test_who_joins_after_its_membership_expired_is_a_member_like_any_other(clock: Clock) -> None:
    memberships = Memberships(10)
    memberships.join("g", "a", (1, 0))
    clock.now += 11
    memberships.join("g", "a", (5, 0))
    memberships.join("g", "b", (9, 0))
    assert reached(memberships, "g", 3, 0) == []
    assert reached(memberships, "g", 9, 0) == ["a"]
    memberships.leave("g", "a", (9, 0))
    assert reached(memberships, "g", 9, 1) == ["b"]
    assert memberships.leave_all("b", (10, 0)) == ["g"]
    memberships.pass_by((10, 0))
    assert not memberships._joined
    assert not memberships._latest_join


def test_after_a_restart_members_get_all_that_comes() -> None:
    memberships = Memberships(None)
    memberships.join("g", "a", (5, 0))
    memberships.restart()
    assert reached(memberships, "g", 1, 0) == ["a"]
    assert START == (0, 0)
