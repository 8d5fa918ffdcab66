from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import channel_layers
from channel_layers import exceptions
from channel_layers.memory import InMemoryChannelLayer


@pytest.mark.parametrize("name", exceptions.__all__)
def test_errors_are_public_and_can_be_pickled(name: str) -> None:
    error_class = getattr(channel_layers, name)
    assert error_class is getattr(exceptions, name)
    error = pickle.loads(pickle.dumps(error_class("what", 5)))
    assert type(error) is error_class
    assert error.args == ("what", 5)
    assert str(error_class()) or name in ("InvalidChannelLayerError", "LayerClosed", "LayerUnavailable")


def test_what_they_are_subclasses_of() -> None:
    assert issubclass(channel_layers.InvalidMessage, TypeError)
    assert issubclass(channel_layers.LayerUnavailable, ConnectionError)
    assert issubclass(channel_layers.InvalidChannelLayerError, ValueError)


def test_texts_say_what_happened() -> None:
    full = pickle.loads(pickle.dumps(channel_layers.ChannelFull("room", reason="no room (message_memory)")))
    assert str(full) == "channel 'room' is full: no room (message_memory)"
    assert str(channel_layers.ChannelFull("room", 5)) == "channel 'room' is full: it holds 5 unread messages"
    assert "more than 10 bytes" in str(channel_layers.MessageTooLarge(None, 10))
    assert "takes 11 bytes as JSON, and may take at most 10" in str(channel_layers.MessageTooLarge(11, 10))
    assert str(channel_layers.InvalidMessage("message[1]", "is odd")) == "message[1]: is odd"


def test_a_size_that_is_not_that_of_json_says_so() -> None:
    error = channel_layers.MessageTooLarge(4056, 4020, "encoded")
    assert str(error) == "the message takes 4,056 bytes encoded, and may take at most 4,020: send it in parts"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_errors_of_channels_are_caught() -> None:
    channels = pytest.importorskip("channels.exceptions")
    for name in ("ChannelFull", "MessageTooLarge", "InvalidChannelLayerError"):
        assert issubclass(getattr(channel_layers, name), getattr(channels, name))


@pytest.mark.asyncio
async def test_what_others_assert_is_still_caught() -> None:
    layer = InMemoryChannelLayer()
    with pytest.raises(AssertionError):
        await layer.send("channel", "no dict")  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        await layer.receive("specific.cl0123456789abcdef0123!of-another")


def test_without_channels_they_stand_alone() -> None:
    code = """if True:
        import sys
        sys.modules["channels"] = None
        import channel_layers.memory
        assert channel_layers.ChannelFull.__mro__[1] is Exception
        assert channel_layers.InvalidChannelLayerError.__mro__[1] is ValueError
        assert not [name for name in sys.modules if name.split(".")[0] in ("django", "pytest", "msgpack", "redis")]
    """
    subprocess.run([sys.executable, "-c", code], check=True)
