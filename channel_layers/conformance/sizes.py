"""The size of a message: 1,048,576 bytes as JSON pass, one more does not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from .base import LayerTests, layer_test
from .expect import expect_error

LIMIT = 1_048_576


def size_of(message: dict[str, Any]) -> int:
    """Bytes of compact JSON in UTF-8, byte strings as base64."""
    text = json.dumps(
        message, separators=(",", ":"), ensure_ascii=False, default=lambda b: base64.b64encode(b).decode()
    )
    return len(text.encode())


def padded(message: dict[str, Any], size: int) -> dict[str, Any]:
    """The message with a text added that brings it to this size."""
    return {**message, "pad": "." * (size - size_of({**message, "pad": ""}))}


MADE_OF: dict[str, dict[str, Any]] = {
    "ascii": {},
    "unicode": {"text": "é€😀" * 100_000},
    "escapes": {"text": '\x00"\\\n' * 60_000},
    "bytes": {"data": bytes(range(256)) * 3000},
    "numbers": {"list": [0] * 300_000 + [-(2**63), 1e-300]},
    "small-values": {"list": [{"a": None, "b": [True]}] * 30_000},
    "keys": {f"key-{n}": {} for n in range(50_000)},
}


class SizeTests(LayerTests):
    """Message size"""

    @pytest.mark.parametrize("made_of", MADE_OF)
    @layer_test()
    async def test_the_largest_message_arrives(self, made_of: str) -> None:
        """*Messages*: a message of exactly 1,048,576 bytes as JSON arrives."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            message = padded(MADE_OF[made_of], LIMIT)
            await self.within(sender.send(channel, message), "a message of 1,048,576 bytes is accepted")
            await self.expect_next(receiver, channel, message, "a message of 1,048,576 bytes arrives whole")

    @pytest.mark.parametrize("made_of", MADE_OF)
    @layer_test("size_limit")
    async def test_one_byte_more_is_refused(self, made_of: str) -> None:
        """*Specification Details*: send() of 1,048,577 bytes as JSON raises layer.MessageTooLarge; nothing arrives."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            message = padded(MADE_OF[made_of], LIMIT + 1)
            rule = "a message of 1,048,577 bytes is refused"
            await expect_error(self.too_large_error(sender), lambda: sender.send(channel, message), rule)
            await self.expect_nothing(sender, receiver, channel, "nothing of a message that is too large arrives")

    @layer_test("size_limit", "groups")
    async def test_the_limit_holds_for_groups(self) -> None:
        """*Specification Details*: group_send() carries 1,048,576 bytes, and raises MessageTooLarge for one more."""
        async with self.layers() as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            await receiver.group_add(group, channel)
            rule = "a group message of 1,048,577 bytes is refused"
            await expect_error(
                self.too_large_error(sender), lambda: sender.group_send(group, padded({}, LIMIT + 1)), rule
            )
            await sender.group_send(group, padded({}, LIMIT))
            rule = "a group message of 1,048,576 bytes arrives whole"
            await self.expect_next(receiver, channel, padded({}, LIMIT), rule)

    @layer_test("size_limit")
    async def test_shared_lists_count_as_often_as_they_stand(self) -> None:
        """*Messages*: a few lists that share their items are as large as their JSON would be, and soon refused."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            pair: list[Any] = []
            for _ in range(21):  # two million lists; enough to tell, too few to hurt a layer that writes them all out
                pair = [pair, pair]
            rule = "lists that share their items are refused if their JSON would be too large"
            refused = (self.too_large_error(sender), TypeError)
            call = expect_error(refused, lambda: sender.send(channel, {"pair": pair}), rule)
            await self.within(call, f"{rule}, and soon")
