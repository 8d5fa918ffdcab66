"""Specification Details: the attributes that a layer has."""

from __future__ import annotations

import inspect
from typing import Any

from .base import LayerTests, layer_test
from .expect import expect, expect_equal


class AttributeTests(LayerTests):
    """Specification details"""

    @staticmethod
    def expect_coroutine(layer: Any, verb: str) -> None:
        method = getattr(layer, verb, None)
        expect(method is not None, f"expected the layer to have the method {verb}()")
        expect(inspect.iscoroutinefunction(method), f"expected {verb}() to be a coroutine function (async def)")

    @layer_test()
    async def test_verbs_are_coroutine_functions(self) -> None:
        """*Asynchronous Support*: send, receive and new_channel are coroutine functions."""
        async with self.layer() as layer:
            for verb in ("send", "receive", "new_channel"):
                self.expect_coroutine(layer, verb)

    @layer_test("groups")
    async def test_group_verbs_are_coroutine_functions(self) -> None:
        """*Specification Details*: a layer with groups has the coroutine functions group_add, _discard and _send."""
        async with self.layer() as layer:
            for verb in ("group_add", "group_discard", "group_send"):
                self.expect_coroutine(layer, verb)

    @layer_test("flush")
    async def test_flush_is_a_coroutine_function(self) -> None:
        """*Specification Details*: a layer with the extension flush has the coroutine function flush."""
        async with self.layer() as layer:
            self.expect_coroutine(layer, "flush")

    @layer_test()
    async def test_extensions_are_a_list_of_names(self) -> None:
        """*Extensions*: the attribute extensions is a list of strings, which holds what the layer claims."""
        async with self.layer() as layer:
            extensions = getattr(layer, "extensions", None)
            expect(type(extensions) is list, f"expected layer.extensions to be a list, it is {extensions!r}")
            expect(all(type(name) is str for name in extensions or ()), "expected layer.extensions to hold only str")
            for name in ("groups", "flush"):
                if getattr(self.features, name):
                    rule = f"expected layer.extensions to hold {name!r}, which is claimed; it is {extensions!r}"
                    expect(name in (extensions or ()), rule)

    @layer_test()
    async def test_channel_full_is_an_attribute(self) -> None:
        """*Specification Details*: layer.ChannelFull is the exception of a send to a full channel."""
        async with self.layer() as layer:
            kind = getattr(layer, "ChannelFull", None)
            expect(isinstance(kind, type) and issubclass(kind, Exception), "expected layer.ChannelFull, an exception")

    @layer_test()
    async def test_message_too_large_is_an_attribute(self) -> None:
        """*Specification Details*: layer.MessageTooLarge is the exception of a send of too large a message."""
        async with self.layer() as layer:
            kind = getattr(layer, "MessageTooLarge", None)
            rule = "expected layer.MessageTooLarge, an exception"
            expect(isinstance(kind, type) and issubclass(kind, Exception), rule)

    @layer_test("groups", "group_expiry")
    async def test_group_expiry_is_an_attribute(self) -> None:
        """*Persistence*: layer.group_expiry is the number of seconds that a membership lasts."""
        async with self.layer(group_expiry=7) as layer:
            expect_equal(getattr(layer, "group_expiry", None), 7, "layer.group_expiry is what the option says")
