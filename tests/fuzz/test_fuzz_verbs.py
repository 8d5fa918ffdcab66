"""Every verb of every layer, with anything for a name or a message: an error of the contract; and the layer goes on."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from hostile import Case, FormatsAsSomethingElse, HostileStr, anything, at_peace, dicts, fuzz, leaves, without_end
from hypothesis import given
from hypothesis import strategies as st
from redis_servers import RedisServer

from channel_layers import ChannelFull, InvalidMessage, LayerUnavailable, MessageTooLarge
from channel_layers.ipc import IPCChannelLayer
from channel_layers.memory import InMemoryChannelLayer
from channel_layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

DEADLINE = 20.0
LAYERS = ["memory", "ipc", "queues", "pubsub"]
NAMED = ["send", "group_send", "new_channel", "discard_channel", "group_add", "group_discard", "receive"]


def require_clear(error: Exception) -> None:
    """Its text says what is wrong, in a few words; the path to a value in a message may be long."""
    text = str(error)
    assert re.search("name|message|prefix|channel", text), text
    assert isinstance(error, InvalidMessage) or len(text) < 1000


class Attacked:
    """A layer with one channel, which is a member of one group, and its own loop."""

    def __init__(self, layer: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self.layer = layer
        self.channel = self.run(layer.new_channel())
        self.run(layer.group_add("room", self.channel))
        self.count = 0

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, DEADLINE))

    def attempt(self, verb: str, *arguments: Any) -> Any:
        """Call a verb that may refuse what it was given, by an error of the contract with a text of its own."""
        try:
            return self.run(getattr(self.layer, verb)(*arguments))
        except (TypeError, ValueError, MessageTooLarge, ChannelFull, LayerUnavailable) as error:
            require_clear(error)
        return None

    def goes_on(self) -> None:
        """What is sent now arrives, directly and by the group."""
        self.count += 1
        self.run(self.layer.send(self.channel, {"count": self.count}))
        self.run(self.layer.group_add("room", self.channel))
        self.run(self.layer.group_send("room", {"group": self.count}))
        arrived = []
        while {"count": self.count} not in arrived or {"group": self.count} not in arrived:
            arrived.append(self.run(self.layer.receive(self.channel)))
        counts = self.layer.statistics()
        assert counts.arrived == counts.delivered + sum(counts.dropped.values()) + counts.unread
        assert counts.sent == counts.accepted + sum(counts.refused.values())

    def close(self) -> None:
        self.run(self.layer.close())
        self.loop.close()


@pytest.fixture(scope="module", params=LAYERS)
def attacked(request: pytest.FixtureRequest) -> Iterator[Attacked]:
    prefix = f"fuzz{secrets.token_hex(6)}"
    if request.param == "memory":
        attacked = Attacked(InMemoryChannelLayer())
    elif request.param == "ipc":
        attacked = Attacked(IPCChannelLayer(prefix=prefix))
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        kind = {"queues": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}[request.param]
        attacked = Attacked(kind(hosts=[server.url], prefix=prefix, send_timeout=2.0))
    yield attacked
    attacked.close()


def is_taken(layer: Any, name: Any) -> bool:
    """Whether receive() would wait there."""
    try:
        return bool(layer._admit_own_channel(name))
    except (TypeError, ValueError):
        return False


@pytest.mark.parametrize("verb", NAMED)
def test_names(attacked: Attacked, verb: str) -> None:
    @fuzz(60)
    @given(anything)
    def give(case: Case) -> None:
        name = case.make()
        if verb in ("send", "group_send"):
            attacked.attempt(verb, name, {"type": "x"})
        elif verb in ("group_add", "group_discard"):
            attacked.attempt(verb, name, attacked.channel)
            attacked.attempt(verb, "room", name)
        elif verb != "receive" or not is_taken(attacked.layer, name):
            made = attacked.attempt(verb, name)
            assert made is None or attacked.layer.require_valid_channel_name(made)

    give()
    attacked.goes_on()


MESSAGES = st.one_of(
    anything, dicts(st.text(max_size=8), anything), dicts(st.sampled_from(["type", "\ud800", "k" * 80]), leaves)
)


@pytest.mark.parametrize("verb", ["send", "group_send"])
def test_messages(attacked: Attacked, verb: str) -> None:
    to = attacked.channel if verb == "send" else "room"
    before = attacked.layer.statistics()

    @fuzz(100)
    @given(MESSAGES)
    def give(case: Case) -> None:
        attacked.attempt(verb, to, case.make())
        attacked.attempt(verb, to, {"type": "x", "value": case.make()})
        if attacked.layer.statistics().unread > 10:
            attacked.goes_on()

    give()
    attacked.goes_on()
    assert attacked.layer.statistics().refused["invalid"] > before.refused.get("invalid", 0)


def test_keys_that_compare_and_hash_as_they_like(attacked: Attacked) -> None:
    with at_peace():
        message = {HostileStr("key"): {HostileStr("inner" * 20): object()}}
        good = {HostileStr("key"): 1}
    attacked.attempt("send", attacked.channel, message)
    attacked.attempt("send", attacked.channel, good)
    attacked.goes_on()


def test_a_message_without_end_is_refused(attacked: Attacked) -> None:
    with pytest.raises(MessageTooLarge):
        attacked.run(attacked.layer.send(attacked.channel, {"value": without_end()}))
    attacked.goes_on()


def test_a_prefix_is_what_it_holds_and_not_what_it_says(attacked: Attacked) -> None:
    name = attacked.run(attacked.layer.new_channel(FormatsAsSomethingElse("chat")))
    assert name.startswith("chat.")


@pytest.mark.parametrize("verb", ["flush", "close", "statistics"])
def test_arguments_that_nobody_asked_for(attacked: Attacked, verb: str) -> None:
    with pytest.raises(TypeError, match="argument"):
        getattr(attacked.layer, verb)(object())
    attacked.goes_on()


def test_the_methods_that_look_at_names(attacked: Attacked) -> None:
    layer = attacked.layer

    @fuzz(100)
    @given(anything)
    def give(case: Case) -> None:
        for method in ("require_valid_channel_name", "require_valid_group_name", "valid_channel_names"):
            try:
                assert getattr(layer, method)(case.make()) is True
            except TypeError as error:
                require_clear(error)
        assert layer.match_type_and_length(case.make()) in (True, False)

    give()
