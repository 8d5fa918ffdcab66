"""What came from each writer last."""

from __future__ import annotations

import pytest

from channel_layers.redis import writers
from channel_layers.redis.writers import Writers


def test_a_number_is_taken_once_and_in_order() -> None:
    known = Writers()
    assert [known.takes(b"a", number) for number in (1, 1, 3, 2, 4)] == [True, False, True, False, True]
    assert known.takes(b"b", 1)


def test_who_sends_is_remembered_however_many_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "_WRITERS", 10)
    known = Writers()
    for number in range(1, 200):
        assert known.takes(b"steady", number)
        assert not known.takes(b"steady", number)
        assert known.takes(number, 1)
    assert not known.takes(199, 1)
    assert len(known._newer) + len(known._older) <= 20
