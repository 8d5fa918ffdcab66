"""Which server a name belongs to: evenly spread, and the same for all who know the same servers."""

from __future__ import annotations

import functools
import string
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channel_layers.redis import ring
from channel_layers.redis.ring import Ring

HOSTS = [f"redis-{number}:6379/0" for number in range(16)]

#: As applications name things: a counter, a process's channels, groups with a number.
NAMES = [
    *(f"specific.{number % 40:08x}!{number:012x}" for number in range(50_000)),
    *(f"room.{number}" for number in range(50_000)),
]

names = st.text(string.ascii_letters + string.digits + "-_.!", min_size=1, max_size=100)
some_hosts = st.lists(st.sampled_from(HOSTS), min_size=1, max_size=8, unique=True)


@functools.cache
def homes(*hosts: str) -> list[str]:
    """The server of each of ``NAMES``."""
    places = Ring(hosts)
    return [hosts[places.find(name)] for name in NAMES]


def moved(before: Sequence[str], after: Sequence[str]) -> float:
    """The share of the names that have another server."""
    return sum(old != new for old, new in zip(before, after, strict=True)) / len(before)


@pytest.mark.parametrize("count", [2, 3, 4, 16])
def test_each_server_gets_its_share(count: int) -> None:
    shares = Counter(homes(*HOSTS[:count]))
    assert len(shares) == count
    assert max(shares.values()) <= 1.1 * len(NAMES) / count
    assert min(shares.values()) >= 0.9 * len(NAMES) / count


@pytest.mark.parametrize("kind", ["specific.", "room."])
def test_names_of_one_kind_are_spread_as_well(kind: str) -> None:
    shares = Counter(home for name, home in zip(NAMES, homes(*HOSTS[:4]), strict=True) if name.startswith(kind))
    assert max(shares.values()) <= 1.1 * sum(shares.values()) / 4


@pytest.mark.parametrize(("count", "limit"), [(3, 0.27), (15, 0.07)])
def test_a_server_that_is_added_takes_its_share_and_nothing_else_moves(count: int, limit: float) -> None:
    before, after = homes(*HOSTS[:count]), homes(*HOSTS[: count + 1])
    assert moved(before, after) <= limit
    assert {new for old, new in zip(before, after, strict=True) if new != old} == {HOSTS[count]}


@pytest.mark.parametrize("removed", HOSTS[:4])
def test_of_a_server_that_is_removed_only_its_own_names_move(removed: str) -> None:
    before, after = homes(*HOSTS[:4]), homes(*(host for host in HOSTS[:4] if host != removed))
    assert {old for old, new in zip(before, after, strict=True) if new != old} == {removed}
    # They go to all others alike.
    shares = Counter(new for old, new in zip(before, after, strict=True) if old == removed)
    assert max(shares.values()) <= 1.1 * sum(shares.values()) / 3


@given(hosts=some_hosts, name=names, data=st.data())
def test_the_order_of_the_servers_means_nothing(hosts: list[str], name: str, data: st.DataObject) -> None:
    other = data.draw(st.permutations(hosts))
    assert hosts[Ring(hosts).find(name)] == other[Ring(other).find(name)]


@given(hosts=some_hosts, name=names, data=st.data())
def test_more_servers_take_a_name_or_leave_it_where_it_was(hosts: list[str], name: str, data: st.DataObject) -> None:
    added = data.draw(some_hosts.map(lambda some: [host for host in some if host not in hosts]))
    more = [*hosts, *added]
    assert more[Ring(more).find(name)] in {hosts[Ring(hosts).find(name)], *added}


@given(name=names)
def test_asking_again_says_the_same(name: str) -> None:
    places = Ring(HOSTS)
    assert places.find(name) == places.find(name) == Ring(HOSTS).find(name)


@pytest.mark.parametrize("name", ["a", "-", "0", "x" * 100, "specific.0123456789ab!", "a.b_c-D!e", "!"])
def test_names_of_any_form(name: str) -> None:
    assert Ring(HOSTS).find(name) in range(len(HOSTS))


def test_names_of_servers_may_be_any_text() -> None:
    hosts = ["first", "second one", "sentinel:main/0", "/run/redis.sock/0", "größte", "[::1]:6379/0"]
    assert set(map(Ring(hosts).find, NAMES[:1000])) == set(range(len(hosts)))


def test_of_one_server_there_is_one_answer() -> None:
    assert set(map(Ring(HOSTS[:1]).find, NAMES[:1000])) == {0}


# Who changes these, moves the names of everybody who updates: processes of two versions would miss each other.
@pytest.mark.parametrize(
    ("name", "of_three", "of_sixteen"),
    [
        ("chat", 0, 1),
        ("room", 2, 2),
        ("room.1", 0, 15),
        ("jobs", 1, 8),
        ("specific.8fa3!1", 2, 1),
        ("-", 1, 14),
        ("0", 1, 3),
        ("x" * 100, 2, 9),
    ],
)
def test_known_places(name: str, of_three: int, of_sixteen: int) -> None:
    assert Ring(["a:6379/0", "b:6379/0", "c:6379/0"]).find(name) == of_three
    assert Ring(HOSTS).find(name) == of_sixteen


def test_no_more_names_are_remembered_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_REMEMBERED", 100)
    places = Ring(HOSTS)
    expected = homes(*HOSTS)
    for name, home in zip(NAMES[:1000], expected, strict=False):
        assert HOSTS[places.find(name)] == home
        assert len(places._found) <= 100
    assert len(places._found) > 0
