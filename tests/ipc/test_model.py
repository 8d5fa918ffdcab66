"""The models of the protocol, explored exhaustively; and the mistakes that the explorer must find."""

from __future__ import annotations

import pytest
from model import directory, door, mailbox, normal
from model.explorer import FaultError


@pytest.mark.parametrize("deaths", [0, 1])
def test_the_mailbox(deaths: int) -> None:
    assert mailbox.run(deaths=deaths) > 1000


@pytest.mark.parametrize("mistake", mailbox.MISTAKES)
def test_a_mistake_in_the_mailbox_is_found(mistake: str) -> None:
    with pytest.raises(FaultError):
        mailbox.run(mistake)


@pytest.mark.parametrize("deaths", [0, 1])
def test_the_door(deaths: int) -> None:
    assert door.run(deaths=deaths) > 1000


@pytest.mark.parametrize("mistake", door.MISTAKES)
def test_a_mistake_in_the_door_is_found(mistake: str) -> None:
    with pytest.raises(FaultError):
        door.run(mistake)


@pytest.mark.parametrize("deaths", [0, 1])
def test_the_directory(deaths: int) -> None:
    assert directory.run(deaths=deaths) > 500


@pytest.mark.parametrize("mistake", directory.MISTAKES)
def test_a_mistake_in_the_directory_is_found(mistake: str) -> None:
    with pytest.raises(FaultError):
        directory.run(mistake)


@pytest.mark.parametrize("deaths", [0, 1])
def test_a_normal_channel(deaths: int) -> None:
    assert normal.run(deaths=deaths) > 1000


@pytest.mark.parametrize("mistake", normal.MISTAKES)
def test_a_mistake_in_a_normal_channel_is_found(mistake: str) -> None:
    with pytest.raises(FaultError):
        normal.run(mistake)
