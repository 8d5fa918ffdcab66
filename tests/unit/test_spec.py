from __future__ import annotations

import inspect
from typing import Any

import pytest

from channel_layers import BaseChannelLayer, ChannelFull, InvalidChannelLayerError, MessageTooLarge
from channel_layers.memory import InMemoryChannelLayer

CALLS: dict[str, tuple[Any, ...]] = {
    "send": ("channel", {}),
    "receive": ("channel",),
    "new_channel": (),
    "discard_channel": ("channel",),
    "group_add": ("group", "channel"),
    "group_discard": ("group", "channel"),
    "group_send": ("group", {}),
    "flush": (),
    "close": (),
    "statistics": (),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("verb", CALLS)
async def test_the_base_can_be_built_and_names_the_verb_that_is_missing(verb: str) -> None:
    async def call() -> None:
        result = getattr(BaseChannelLayer(), verb)(*CALLS[verb])
        if inspect.isawaitable(result):
            await result

    with pytest.raises(
        NotImplementedError, match=rf"BaseChannelLayer implements neither {verb}\(\) nor its hook _{verb}"
    ):
        await call()


@pytest.mark.asyncio
async def test_a_subclass_may_override_the_hook_or_the_verb() -> None:
    class Hook(BaseChannelLayer):
        async def _send(self, channel: str, payload: Any) -> None:
            sent.append((channel, payload))

    class Verb(BaseChannelLayer):
        async def send(self, channel: str, message: Any) -> None:
            sent.append((channel, message))

    sent: list[Any] = []
    await Hook().send("hook", {"a": (1,)})
    await Verb().send("verb", {"a": (1,)})
    assert sent == [("hook", {"a": [1]}), ("verb", {"a": (1,)})]


@pytest.mark.parametrize("verb", [verb for verb in CALLS if verb != "statistics"])
def test_verbs_are_coroutine_functions(verb: str) -> None:
    assert inspect.iscoroutinefunction(getattr(InMemoryChannelLayer, verb))


def test_a_layer_shows_its_options_and_errors() -> None:
    layer = InMemoryChannelLayer(expiry=0.5, group_expiry=None, capacity=3, channel_capacity={"a": 1})
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (0.5, None, 3)
    assert layer.get_capacity("a") == 1
    assert layer.extensions == ["groups", "flush"]
    assert layer.ChannelFull is ChannelFull
    assert layer.MessageTooLarge is MessageTooLarge


def test_defaults() -> None:
    layer = InMemoryChannelLayer()
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (60, 86400, 100)
    assert InMemoryChannelLayer(1, 2, 3, {}).capacity == 3  # the order of Channels' own in-memory layer
    assert BaseChannelLayer(1, 2, {}).capacity == 2  # the order of Channels' base class


@pytest.mark.parametrize("option", ["expiry", "group_expiry"])
@pytest.mark.parametrize("value", [0, -1, "60", float("nan"), True, b"", [], 10**400])
def test_a_bad_time_is_named(option: str, value: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match=rf"^{option} must be a number of seconds above 0"):
        InMemoryChannelLayer(**{option: value})


def test_none_is_no_expiry() -> None:
    with pytest.raises(InvalidChannelLayerError, match="expiry"):
        InMemoryChannelLayer(expiry=None)  # type: ignore[arg-type]


def test_an_unknown_option_is_named() -> None:
    for options in ({"hosts": []}, {"expiri": 1, "capacity": 5}):
        with pytest.raises(InvalidChannelLayerError, match=r"InMemoryChannelLayer has no option '(hosts|expiri)'"):
            InMemoryChannelLayer(**options)  # type: ignore[arg-type]


class WrittenForChannels(BaseChannelLayer):
    """A layer as third parties wrote it against Channels' own base class; only the import has changed."""

    def __init__(self, expiry: float = 60, capacity: int = 100, channel_capacity: Any = None) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.queues: dict[str, list[Any]] = {}
        self.groups: dict[str, set[str]] = {}

    extensions = ["groups", "flush"]  # noqa: RUF012

    async def send(self, channel: str, message: Any) -> None:
        assert self.require_valid_channel_name(channel), "Channel name not valid"
        queue = self.queues.setdefault(channel, [])
        if len(queue) >= self.get_capacity(channel):
            raise self.ChannelFull(channel)
        queue.append(message)

    async def receive(self, channel: str) -> Any:
        return self.queues[channel].pop(0)

    async def new_channel(self, prefix: str = "specific.") -> str:
        return f"{prefix}mine!abc"

    async def group_add(self, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.groups.setdefault(group, set()).add(channel)

    async def group_discard(self, group: str, channel: str) -> None:
        self.groups[group].discard(channel)

    async def group_send(self, group: str, message: Any) -> None:
        for channel in self.groups[group]:
            await self.send(channel, message)

    async def flush(self) -> None:
        self.queues.clear()
        self.groups.clear()


class NeverCallsInit(WrittenForChannels):
    def __init__(self) -> None:
        self.queues = {}
        self.groups = {}


@pytest.mark.asyncio
@pytest.mark.parametrize("make", [lambda: WrittenForChannels(capacity=2), NeverCallsInit])
async def test_a_layer_written_for_channels_works_on_our_base(make: Any) -> None:
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", {"type": "x"})
    assert await layer.receive(channel) == {"type": "x"}
    await layer.group_discard("group", channel)
    await layer.flush()
    assert layer.get_capacity("any") in (2, 100)
    with pytest.raises(TypeError):
        await layer.send("not legal", {})


@pytest.mark.asyncio
async def test_async_with_needs_no_close() -> None:
    async with WrittenForChannels() as layer:
        await layer.send("a", {})
    with pytest.raises(NotImplementedError, match="close"):
        await layer.close()


@pytest.mark.asyncio
async def test_a_check_of_names_may_be_overridden_and_return_false() -> None:
    class Strict(InMemoryChannelLayer):
        def require_valid_channel_name(self, name: Any, receive: bool = False) -> bool:
            return str(name).startswith("mine.")

        def require_valid_group_name(self, name: Any) -> bool:
            return False

    await Strict().send("mine.a", {})
    for call in (lambda: Strict().send("other", {}), lambda: Strict().group_send("mine.a", {})):
        with pytest.raises(TypeError, match="name must be"):
            await call()


@pytest.mark.asyncio
async def test_a_hook_may_raise_and_is_counted() -> None:
    class Full(InMemoryChannelLayer):
        def _send(self, channel: str, payload: Any) -> None:
            raise error

    layer = Full()
    errors = [(ChannelFull("a", 1), "full"), (ChannelFull.__mro__[1](), "full"), (OSError(), "error")]
    for error, reason in errors if ChannelFull.__mro__[1] is not Exception else errors[::2]:
        with pytest.raises(type(error)):
            await layer.send("a", {})
        assert layer.statistics().refused[reason]
    assert layer.statistics().sent in (2, 3)
