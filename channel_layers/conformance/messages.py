"""Messages: which values travel, how they arrive, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest

from .base import LayerTests, layer_test
from .expect import expect, expect_equal, expect_error
from .values import KEYS, NOT_MESSAGES, REFUSED, REFUSED_AT, REFUSED_KEYS, SUBCLASSES, VALUES, Text, nested

LEVELS = 128


class MessageTests(LayerTests):
    """Messages"""

    @pytest.mark.parametrize(("value", "arrives_as"), [pytest.param(*pair, id=name) for name, pair in VALUES.items()])
    @layer_test()
    async def test_value_arrives(self, value: Any, arrives_as: Any) -> None:
        """*Messages*: each allowed value arrives as it was sent, tuples as lists."""
        await self.expect_round_trip(value, arrives_as)

    @pytest.mark.parametrize(
        ("value", "arrives_as"), [pytest.param(*pair, id=name) for name, pair in SUBCLASSES.items()]
    )
    @layer_test("plain_types")
    async def test_subclass_arrives_as_plain_type(self, value: Any, arrives_as: Any) -> None:
        """*Beyond the specification*: a value of a subclass arrives as the plain type, a bytearray as bytes."""
        await self.expect_round_trip(value, arrives_as)

    async def expect_round_trip(self, value: Any, arrives_as: Any) -> None:
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await sender.send(channel, {"value": value, "list": [value], "dict": {"in": value}})
            wanted = {"value": arrives_as, "list": [arrives_as], "dict": {"in": arrives_as}}
            await self.expect_next(receiver, channel, wanted, "a legal value arrives, and of the right type")

    @layer_test("groups")
    async def test_values_arrive_through_a_group(self) -> None:
        """*Messages*: a group message carries the same values as a direct one."""
        async with self.layers() as (sender, receiver):
            group, channels = self.name("room"), [await receiver.new_channel() for _ in range(2)]
            for channel in channels:
                await receiver.group_add(group, channel)
            for name, (value, arrives_as) in VALUES.items():
                await sender.group_send(group, {name: value})
                for channel in channels:
                    rule = f"a legal value ({name}) arrives through a group"
                    await self.expect_next(receiver, channel, {name: arrives_as}, rule)

    @pytest.mark.parametrize("keys", [pytest.param(keys, id=name) for name, keys in KEYS.items()])
    @layer_test()
    async def test_keys_arrive(self, keys: list[str]) -> None:
        """*Messages*: any Unicode string can be a key, and a message may have any number of them."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            message = {key: {key: n} for n, key in enumerate(keys)}
            await sender.send(channel, message)
            await self.expect_next(receiver, channel, message, "all keys arrive")

    @layer_test("plain_types")
    async def test_a_subclass_of_dict_is_a_message(self) -> None:
        """*Beyond the specification*: a message may be of a subclass of dict; it arrives as a dict."""

        class Event(dict):  # type: ignore[type-arg]
            pass

        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await sender.send(channel, Event({Text("key"): 1}))
            await self.expect_next(receiver, channel, {"key": 1}, "subclasses of dict and str arrive as plain types")

    @layer_test("depth_limit")
    async def test_deep_messages_arrive(self) -> None:
        """*Beyond the specification*: a message may be nested to 128 levels, the message itself being the first."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for kind in (list, dict):
                await sender.send(channel, nested(LEVELS, kind))
                rule = f"a message of {LEVELS} levels of {kind.__name__} arrives"
                await self.expect_next(receiver, channel, nested(LEVELS, kind), rule)

    @pytest.mark.parametrize("kind", [list, dict])
    @layer_test("depth_limit")
    async def test_too_deep_messages_are_refused(self, kind: type) -> None:
        """*Beyond the specification*: more than 128 levels are refused, and so is a list that contains itself."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            itself: list[Any] = []
            itself.append(itself)
            for what, message in (("129 levels", nested(LEVELS + 1, kind)), ("a list in itself", {"list": itself})):
                rule = f"a message with {what} is refused"
                await expect_error(TypeError, lambda m=message: sender.send(channel, m), rule)  # type: ignore[misc]

    @pytest.mark.parametrize("value", [pytest.param(value, id=name) for name, value in REFUSED.items()])
    @pytest.mark.parametrize("verb", ["send", "group_send"])
    @layer_test("message_types")
    async def test_value_is_refused(self, verb: str, value: Any) -> None:
        """*Messages*: any other value is refused with a TypeError where it is sent, at any depth."""
        if verb == "group_send" and (reason := await self.why_not("groups")):
            pytest.skip(reason)
        async with self.layers() as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            if verb == "group_send":
                await receiver.group_add(group, channel)
            send, to = (sender.send, channel) if verb == "send" else (sender.group_send, group)
            rule = f"{verb}() refuses a value that some backend could not carry"
            for message in ({"value": value}, {"a": {"b": [0, value]}}):
                await expect_error(TypeError, lambda m=message: send(to, m), rule)  # type: ignore[misc]
            await self.expect_nothing(sender, receiver, channel, "nothing of a refused message arrives")

    @pytest.mark.parametrize("keys", [pytest.param(keys, id=name) for name, keys in REFUSED_KEYS.items()])
    @layer_test("message_types")
    async def test_key_is_refused(self, keys: Any) -> None:
        """*Messages*: keys must be Unicode strings; any other is refused with a TypeError, at any depth."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            for message in (keys, {"a": [keys]}):
                rule = "send() refuses a dict whose keys are not all strings that UTF-8 can encode"
                await expect_error(TypeError, lambda m=message: sender.send(channel, m), rule)  # type: ignore[misc]

    @pytest.mark.parametrize("message", [pytest.param(value, id=name) for name, value in NOT_MESSAGES.items()])
    @layer_test("message_types")
    async def test_a_message_must_be_a_dict(self, message: Any) -> None:
        """*Messages*: what is not a dict is refused with a TypeError, by send and by group_send."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await expect_error(TypeError, lambda: sender.send(channel, message), "send() refuses what is not a dict")
            if await self.why_not("groups") is None:
                rule = "group_send() refuses what is not a dict"
                await expect_error(TypeError, lambda: sender.group_send(self.name(), message), rule)
            await self.expect_nothing(sender, receiver, channel, "nothing of a refused message arrives")

    @pytest.mark.parametrize(("message", "path"), [pytest.param(*pair, id=pair[1]) for pair in REFUSED_AT.values()])
    @layer_test("message_types", "message_paths")
    async def test_refusal_names_the_path(self, message: Any, path: str) -> None:
        """*Beyond the specification*: the error says where in the message the refused value is."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            error = await expect_error(TypeError, lambda: sender.send(channel, message), "a foreign value is refused")
            expect(path in str(error), f"expected the error to name {path}; its text is: {error}")

    @layer_test("message_types")
    async def test_a_refused_message_changes_nothing(self) -> None:
        """*Messages*: after a refusal the channel works as before, and holds what it held."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            await sender.send(channel, {"n": 1})
            for _ in range(3):
                rule = "a set is refused"
                await expect_error(TypeError, lambda: sender.send(channel, {"n": {1}}), rule)
            await sender.send(channel, {"n": 2})
            got = await self.take_many(receiver, channel, 2, "the legal messages arrive")
            expect_equal(got, [{"n": 1}, {"n": 2}], "a refused message leaves nothing behind")
