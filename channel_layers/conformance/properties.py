"""Properties: what holds for any message, any name, and any order of steps."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.stateful import run_state_machine_as_test

from .base import LayerTests, layer_test
from .expect import expect_error
from .model import LayerMachine
from .running import in_thread
from .strategies import MESSAGES, NEARLY_NAMES, as_it_arrives, messages_with_a_foreign_value

#: What the contract allows, written independently of any layer.
_CHANNEL = re.compile(r"[A-Za-z0-9_.-]+(![A-Za-z0-9_.-]*)?", re.ASCII)
_GROUP = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)


def _settings(phases: list[Phase], examples: int) -> settings:
    """The same examples each time, and no trace of them on disk."""
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        phases=phases,
        deadline=None,
        database=None,
        derandomize=True,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


class PropertyTests(LayerTests):
    """Properties"""

    async def prove(self, check: Callable[[settings], None], examples: int) -> None:
        """Let Hypothesis run in a thread of its own, while the layer stays in the loop of the test.

        A failure that came soon is looked into for its smallest example; one that takes its time, as every example
        that hangs does, is reported as it is.
        """
        started = time.monotonic()
        try:
            await in_thread(lambda: check(_settings([Phase.generate], examples)))
        except Exception:
            if time.monotonic() - started < min(2.0, self.features.deadline / 2):
                await in_thread(lambda: check(_settings([Phase.generate, Phase.shrink], examples)))
            raise

    def from_thread(self) -> Callable[[Coroutine[Any, Any, Any]], Any]:
        """A function for other threads that runs a coroutine in the loop of the test, and waits for it."""
        loop = asyncio.get_running_loop()

        def call(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(4 * self.features.deadline)

        return call

    @layer_test()
    async def test_any_legal_message_arrives(self) -> None:
        """*Messages*: whatever a message is made of, if it is legal it arrives as it was sent."""
        call = self.from_thread()
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()

            async def arrives(message: dict[str, Any]) -> None:
                await sender.send(channel, message)
                await self.expect_next(receiver, channel, as_it_arrives(message), "a legal message arrives")

            def check(config: settings) -> None:
                config(given(MESSAGES)(lambda message: call(arrives(message))))()

            await self.prove(check, 150)

    @layer_test("message_types")
    async def test_any_foreign_value_is_refused(self) -> None:
        """*Messages*: wherever in a message a foreign value is, the message is refused, and nothing of it arrives."""
        call = self.from_thread()
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()

            async def is_refused(message: dict[str, Any]) -> None:
                rule = "a message with a foreign value is refused"
                await expect_error(TypeError, lambda: sender.send(channel, message), rule)
                await self.expect_nothing(sender, receiver, channel, rule)

            def check(config: settings) -> None:
                config(given(messages_with_a_foreign_value())(lambda message: call(is_refused(message))))()

            await self.prove(check, 100)

    @layer_test("name_rules", "groups")
    async def test_any_string_is_a_name_or_refused(self) -> None:
        """*Strings and Unicode*: a string is accepted as a name if it is legal, otherwise refused with a TypeError."""
        call = self.from_thread()
        async with self.layer() as layer:
            group, channel = self.name("room"), await layer.new_channel()

            async def legal_or_refused(name: str) -> None:
                for pattern, pair in ((_CHANNEL, (group, name)), (_GROUP, (name, channel))):
                    if len(name) <= 100 and pattern.fullmatch(name):
                        await self.within(layer.group_discard(*pair), f"group_discard{pair!r} returns")
                    else:
                        rule = f"group_discard{pair!r} refuses the illegal name"
                        await expect_error(TypeError, lambda pair=pair: layer.group_discard(*pair), rule)  # type: ignore[misc]

            def check(config: settings) -> None:
                config(given(NEARLY_NAMES)(lambda name: call(legal_or_refused(name))))()

            await self.prove(check, 200)

    @layer_test("ordered", "ordered_together", "membership=send")
    async def test_any_order_of_steps_agrees_with_a_model(self) -> None:
        """*Channel Semantics*: in any order of sends, receives, cancelled receives, joining, leaving, discarding and
        flushing, the layer does what a small model does."""
        claims = (
            "normal_channels",
            "waiting",
            "prefix_receive",
            "groups",
            "flush",
            "discard_channel",
            "capacity=channel",
        )
        claimed = {claim: await self.why_not(claim) is None for claim in claims}
        machine = type(
            "Layer",
            (LayerMachine,),
            {"test": self, "call": staticmethod(self.from_thread()), "claimed": claimed},
        )

        def check(config: settings) -> None:
            run_state_machine_as_test(machine, settings=config)

        await self.prove(check, 60)
