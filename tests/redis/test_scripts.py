"""The files of the Lua scripts, and the rights that a user needs to run them and everything else that a layer does."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_scripts import COMMANDS, COMMANDS_OF_OPTIONS, PASSWORD, ScriptTests, rights
from redis_servers import DEADLINE, SEND_TIMEOUT

import channel_layers.redis
from channel_layers import LayerUnavailable
from channel_layers.redis import RedisChannelLayer, scripts

FILES = sorted((Path(channel_layers.redis.__file__).parent / "lua").glob("*.lua"))
SCRIPTS = [script for script in vars(scripts).values() if isinstance(script, scripts.Script)]
NAMES = {script.name for script in SCRIPTS}
CALL = re.compile(r"redis\.p?call\('(\w+)'")

# What these tests themselves ask of the server, under another user.
OF_THE_TESTS = {"acl", "auth", "client", "config", "info"}

HEADER = re.compile(
    r"-- [A-Z][^\n]+\n(?:-- [^\n]+\n)*"  # what it does
    r"--\n-- KEYS  (?P<keys>1 [^\n]+\n(?:--   [^\n]+\n)*)"
    r"-- ARGV  (?P<argv>1 [^\n]+\n(?:--   [^\n]+\n)*)"
    r"-- Returns [^\n]+\n"
)


def code(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestFiles:
    def test_is_a_script_or_included_by_one(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        included = {name for other in FILES for name in includes(other)}
        assert (path.stem in NAMES) != (path.stem in included)
        assert text.startswith("-- Included by scripts") == (path.stem in included)

    def test_includes_what_it_calls(self, path: Path) -> None:
        text = code(path.read_text(encoding="utf-8"))
        common = {other.stem for other in FILES if other.stem not in NAMES and other != path}
        assert set(includes(path)) == {name for name in common if re.search(rf"\b{name}\(", text)}

    def test_says_what_goes_in_and_out(self, path: Path) -> None:
        if path.stem not in NAMES:
            return
        text = path.read_text(encoding="utf-8")
        header = HEADER.match(text)
        assert header, text
        assert re.search(r"\bAtomic[,:] ", text[: text.index("\n\n")])
        for kind in ("keys", "argv"):
            numbers = re.findall(r"(?:^|  )(\d+) (?=\S)", header[kind])
            assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
            assert set(numbers) == set(re.findall(rf"{kind.upper()}\[(\d+)\]", code(text)))


def commands(names: Iterable[str]) -> set[str]:
    """Without the second word, which not every version of Redis tells."""
    return {name.partition("|")[0] for name in names}


def includes(path: Path) -> list[str]:
    found = re.search(r"^-- include: (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].split() if found else []


class TestLoading(ScriptTests):
    def test_a_server_gives_them_the_same_names(self) -> None:
        assert [self.redis.execute_command(*command) for command in scripts.LOADING] == [each.sha for each in SCRIPTS]

    def test_a_call_is_one_command(self) -> None:
        script, keys = scripts.ring, (self.keys.wake("me"),)
        whole = b"*5\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$1\r\n1\r\n$%d\r\n%b\r\n$5\r\n30000\r\n"
        whole %= (script.sha.encode(), len(keys[0]), keys[0].encode())
        assert script.call(keys, 30_000) == whole
        assert script.head(1, keys) + b"$5\r\n30000\r\n" == whole


class TestRights(ScriptTests):
    """The script tests proper run as a user with ``COMMANDS`` alone; here whole layers do."""

    @pytest.fixture
    def user(self) -> Iterator[dict[str, Any]]:
        """The address of a server for a user without any rights."""
        name = f"{self.prefix}-layer"
        self.redis.execute_command("ACL", "SETUSER", name, *rights([], self.prefix))
        yield {"host": self.server.host, "port": self.server.port, "username": name, "password": PASSWORD}
        self.redis.acl_deluser(name)

    def grant(self, user: dict[str, Any], *words: str) -> None:
        self.redis.execute_command("ACL", "SETUSER", user["username"], *words)

    def denied(self, user: dict[str, Any]) -> list[Any]:
        return [entry for entry in self.redis.acl_log() if entry["username"] == user["username"]]

    def layer(self, user: dict[str, Any], **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer(hosts=[user], prefix=self.prefix, **{"send_timeout": DEADLINE, **options})

    def test_none_is_dangerous(self) -> None:
        dangerous = set(self.redis.acl_cat("dangerous"))
        assert not dangerous.intersection(COMMANDS + COMMANDS_OF_OPTIONS)

    def test_all_but_what_is_dangerous(self, user: dict[str, Any]) -> None:
        self.grant(user, "+@all", "-@dangerous")
        asyncio.run(self.use(user))
        assert self.denied(user) == []

    def test_the_listed_commands_and_no_other(self, user: dict[str, Any]) -> None:
        self.grant(user, *(f"+{name}" for name in COMMANDS))
        self.redis.config_resetstat()
        asyncio.run(self.use(user))
        assert self.denied(user) == []
        used = {name.removeprefix("cmdstat_") for name in self.redis.info("commandstats")}
        own = [path for path in FILES if path.stem != "publish"]  # that is of the Pub/Sub layer
        in_scripts = {name.lower() for path in own for name in CALL.findall(code(path.read_text(encoding="utf-8")))}
        # None is listed without need: what was not used now is in a script.
        assert commands(used) - OF_THE_TESTS | in_scripts == commands(COMMANDS)

    async def use(self, user: dict[str, Any]) -> None:
        """Everything that a layer does."""
        layer, other = self.layer(user), self.layer(user)
        message = {"type": "test"}
        first, second = await layer.new_channel(), await layer.new_channel()
        await other.send(first, message)
        await layer.receive(first)
        await layer.group_add("g", first)
        await other.group_add("g", second)
        await other.group_send("g", message)
        await layer.receive(first)
        await layer.receive(second)
        await other.group_discard("g", second)
        await other.discard_channel(second)

        jobs = [asyncio.create_task(layer.receive("jobs")) for _ in range(2)]
        mail = asyncio.create_task(layer.receive("mail"))
        for channel in ("jobs", "jobs", "mail"):
            await other.send(channel, message)
        await asyncio.gather(*jobs, mail)
        await other.group_add("g", "jobs")
        await other.group_send("g", message)
        await layer.receive("jobs")
        await other.group_discard("g", "jobs")
        await other.group_add("g", "mail")
        await other.group_send("g", message)
        await other.discard_channel("mail")

        self.redis.script_flush()
        await other.group_add("g", first)
        await other.send(first, message)
        await layer.close_pools()
        await other.group_send("g", message)
        for _ in range(4):  # two were sent to the group before
            await layer.receive(first)
        await layer.discard_channel(first)

        self.register(client="stopped")  # no answer is to be expected from it
        await other.flush()
        await layer.close()
        await other.close()

    def test_options_of_a_host_need_more(self, user: dict[str, Any]) -> None:
        needed = COMMANDS + COMMANDS_OF_OPTIONS
        self.grant(user, *(f"+{name}" for name in needed))
        asyncio.run(self.send_and_receive(user))
        for missing in COMMANDS_OF_OPTIONS:
            self.grant(user, "-@all", *(f"+{name}" for name in needed if name != missing))
            with pytest.raises(LayerUnavailable):
                asyncio.run(self.send_and_receive(user, send_timeout=SEND_TIMEOUT))

    async def send_and_receive(self, user: dict[str, Any], **options: Any) -> None:
        async with self.layer({**user, "db": 1, "client_name": "web"}, **options) as layer:
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "test"})
            await layer.receive(channel)
