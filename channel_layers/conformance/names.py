"""Names of channels and groups: which are legal, and what new_channel() returns."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from .base import LayerTests, layer_test
from .expect import expect, expect_error

ALL_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
LEGAL = {
    "one-character": "a",
    "one-digit": "7",
    "hundred-characters": "x" * 100,
    "all-characters": ALL_CHARACTERS,
    "only-punctuation": "-_.",
}
LEGAL_SPECIFIC = {
    "specific": "a!b",
    "specific-without-local-part": "a!",
    "specific-hundred-characters": "x" * 50 + "!" + "y" * 49,
    "specific-all-characters": f"-_.!{ALL_CHARACTERS}",
}
ILLEGAL = {
    "empty": "",
    "101-characters": "x" * 101,
    "newline-at-the-end": "chat\n",
    "newline-inside": "a\nb",
    "space": "a b",
    "tab": "a\t",
    "letter-beyond-ascii": "é",
    "digit-beyond-ascii": "room\u0663",
    "combining-character": "e\u0301",
    "question-mark": "a?b",
    "slash": "a/b",
    "colon": "a:b",
    "asterisk": "a*",
    "nul": "a\x00",
    "lone-surrogate": "a\ud800",
    "bytes": b"chat",
    "none": None,
    "int": 5,
    "list": ["chat"],
}
ILLEGAL_CHANNEL = {**ILLEGAL, "two-marks": "a!b!c", "only-the-mark": "!", "nothing-before-the-mark": "!a"}
ILLEGAL_GROUP = {**ILLEGAL, "mark": "a!b", "mark-at-the-end": "a!"}
BAD_PREFIXES = ("space", "letter-beyond-ascii", "two-marks", "newline-at-the-end", "101-characters")
CHANNEL_VERBS = ("send", "receive", "group_add", "group_discard", "discard_channel")
GROUP_VERBS = ("group_add", "group_discard", "group_send")
WORDS = (("letter", "alphanumeric", "a-z"), ("hyphen", "dash", "'-'"), ("underscore", "'_'"), ("period", "dot", "'.'"))


def cases(names: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [pytest.param(name, id=label) for label, name in names.items()])


class NameTests(LayerTests):
    """Names"""

    async def skip_unclaimed(self, verb: str) -> None:
        claim = "discard_channel" if verb == "discard_channel" else "groups" if "group" in verb else None
        if claim and (reason := await self.why_not(claim)):
            pytest.skip(reason)

    @cases(LEGAL)
    @layer_test("normal_channels", "waiting")
    async def test_legal_channel_name(self, name: str) -> None:
        """*Strings and Unicode*: ASCII letters, digits, hyphens, underscores and periods, up to 100 of them, name a
        channel."""
        async with self.layers() as (sender, receiver):
            message = {"mark": secrets.token_hex(8)}
            await self.within(sender.send(name, message), f"a channel may be called {name!r}")
            # These names cannot be unique: an earlier run may have left something.
            while await self.take(receiver, name, f"a channel called {name!r} delivers") != message:
                pass

    @cases(LEGAL_SPECIFIC)
    @layer_test()
    async def test_legal_specific_name(self, name: str) -> None:
        """*Strings and Unicode*: one exclamation mark is allowed, and makes the channel process-specific."""
        async with self.layers() as (sender, _):
            await self.within(sender.send(name, {"n": 1}), f"a channel may be called {name!r}")
            if await self.why_not("groups") is None:
                group = self.name("room")
                await self.within(sender.group_add(group, name), f"a member may be called {name!r}")
                await self.within(sender.group_discard(group, name), f"a member may be called {name!r}")

    @cases(LEGAL)
    @layer_test("groups")
    async def test_legal_group_name(self, name: str) -> None:
        """*Strings and Unicode*: the same characters, without the exclamation mark, name a group."""
        async with self.layers() as (sender, receiver):
            channel = await receiver.new_channel()
            message = {"mark": secrets.token_hex(8)}
            await receiver.group_add(name, channel)
            await sender.group_send(name, message)
            await self.expect_next(receiver, channel, message, f"a group called {name!r} delivers")
            await receiver.group_discard(name, channel)

    @cases(ILLEGAL_CHANNEL)
    @pytest.mark.parametrize("verb", CHANNEL_VERBS)
    @layer_test("name_rules")
    async def test_illegal_channel_name(self, verb: str, name: Any) -> None:
        """*Strings and Unicode*: every verb refuses any other channel name with a TypeError."""
        await self.skip_unclaimed(verb)
        async with self.layer() as layer:
            arguments: dict[str, tuple[Any, ...]] = {
                "send": (name, {"n": 1}),
                "group_add": (self.name("room"), name),
                "group_discard": (self.name("room"), name),
            }
            call = getattr(layer, verb)
            rule = f"{verb}() refuses {name!r} as the name of a channel"
            await expect_error(TypeError, lambda: self.within(call(*arguments.get(verb, (name,))), rule), rule)

    @cases(ILLEGAL_GROUP)
    @pytest.mark.parametrize("verb", GROUP_VERBS)
    @layer_test("name_rules", "groups")
    async def test_illegal_group_name(self, verb: str, name: Any) -> None:
        """*Strings and Unicode*: every verb refuses any other group name with a TypeError."""
        async with self.layer() as layer:
            argument = {"n": 1} if verb == "group_send" else await layer.new_channel()
            call = getattr(layer, verb)
            rule = f"{verb}() refuses {name!r} as the name of a group"
            await expect_error(TypeError, lambda: self.within(call(name, argument), rule), rule)

    @layer_test("name_rules")
    async def test_a_refusal_says_what_is_allowed(self) -> None:
        """*Strings and Unicode*: the error of an illegal name says which characters and what length are allowed."""
        async with self.layer() as layer:
            calls = [lambda: layer.send("a b", {})]
            if await self.why_not("groups") is None:
                calls.append(lambda: layer.group_send("a b", {}))
            for call in calls:
                text = str(await expect_error(TypeError, call, "an illegal name is refused")).lower()
                expect("100" in text, f"expected the error to name the limit of 100 characters; its text is: {text}")
                for words in WORDS:
                    expect(any(word in text for word in words), f"expected the error to allow a {words[0]}: {text}")

    @layer_test("name_rules", "groups")
    async def test_a_refused_name_changes_nothing(self) -> None:
        """*Strings and Unicode*: a legal channel that is added to an illegal group is a member of nothing."""
        async with self.layers() as (sender, receiver):
            channel, group = await receiver.new_channel(), self.name("room")
            for bad in (group + "\n", group + "!"):
                await expect_error(TypeError, lambda bad=bad: receiver.group_add(bad, channel), "it is refused")  # type: ignore[misc]
            await sender.group_send(group, {"n": 1})
            await self.expect_nothing(sender, receiver, channel, "an illegal name is not repaired into a legal one")

    @layer_test("normal_channels", "waiting")
    async def test_channel_names_differ_by_case(self) -> None:
        """*Channels*: channels whose names differ in the case of a letter are two channels."""
        async with self.layers() as (sender, receiver):
            lower = self.name("case")
            for name in (lower, lower.upper()):
                await sender.send(name, {"to": name})
            for name in (lower.upper(), lower):
                await self.expect_next(receiver, name, {"to": name}, "the case of a letter makes another channel")

    @layer_test("groups")
    async def test_group_names_differ_by_case(self) -> None:
        """*Groups*: groups whose names differ in the case of a letter are two groups."""
        async with self.layers() as (sender, receiver):
            group, channel = self.name("case"), await receiver.new_channel()
            await receiver.group_add(group, channel)
            await sender.group_send(group.upper(), {"n": 1})
            await self.expect_nothing(sender, receiver, channel, "the case of a letter makes another group")


class NewChannelTests(LayerTests):
    """New channels"""

    @layer_test()
    async def test_new_channel_is_process_specific(self) -> None:
        """*Specification Details*: new_channel() returns a legal name with one exclamation mark and a local part."""
        async with self.layer() as layer:
            name = await layer.new_channel()
            expect(type(name) is str, f"expected a str, got {name!r}")
            remote, mark, local = name.partition("!")
            legal = set(remote + local) <= set(ALL_CHARACTERS) and len(name) <= 100
            expect(remote and mark and local and legal, f"expected a legal name such as 'a.b!c', got {name!r}")

    @layer_test()
    async def test_new_channels_are_unique(self) -> None:
        """*Specification Details*: new_channel() returns another name each time, on each layer object."""
        async with self.layer() as one, self.layer() as other:
            names = [await layer.new_channel() for _ in range(1000) for layer in (one, other)]
            expect(len(set(names)) == 2000, f"expected 2,000 names, got {len(set(names))} different ones")

    @layer_test("channel_prefix")
    async def test_new_channel_honours_its_prefix(self) -> None:
        """*Specification Details*: new_channel(prefix) returns a name that begins with the prefix."""
        async with self.layers() as (sender, receiver):
            for prefix in ("mine", "my-own_prefix.v2"):
                channel = await receiver.new_channel(prefix)
                expect(channel.startswith(prefix), f"expected a name that begins with {prefix!r}, got {channel!r}")
                await sender.send(channel, {"n": 1})
                await self.expect_next(receiver, channel, {"n": 1}, "a channel with a prefix delivers")

    @pytest.mark.parametrize("prefix", [pytest.param(ILLEGAL_CHANNEL[label], id=label) for label in BAD_PREFIXES])
    @layer_test("name_rules", "channel_prefix")
    async def test_new_channel_refuses_a_bad_prefix(self, prefix: str) -> None:
        """*Specification Details*: a prefix that makes no legal name is a TypeError."""
        async with self.layer() as layer:
            rule = f"new_channel() refuses the prefix {prefix!r}"
            await expect_error(TypeError, lambda: layer.new_channel(prefix), rule)

    @layer_test("owned_channels")
    async def test_receiving_on_a_foreign_channel_is_refused(self) -> None:
        """*Channels*: a process-specific channel is read by one process; receive() elsewhere is a ValueError."""
        async with self.layer() as owner, self.layer() as stranger:
            channel = await owner.new_channel()
            rule = "receive() refuses a process-specific channel of another layer"
            for name in (channel, channel[: channel.index("!") + 1]):
                await expect_error(ValueError, lambda n=name: self.within(stranger.receive(n), rule), rule)  # type: ignore[misc]
            await owner.send(channel, {"n": 1})
            await self.expect_next(owner, channel, {"n": 1}, "the owner receives as ever")
