"""Another user on the same machine: what it cannot open, what it is refused, and what it may use itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from shared_memory import SHARED, remains

from channel_layers.ipc import IPCChannelLayer
from channel_layers.ipc.site import Site

NOBODY = 65534

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

#: Everything is loaded before, since another user may not be able to read it.
USING = f"""
import asyncio, os, sys
from channel_layers import InvalidChannelLayerError
from channel_layers.ipc import IPCChannelLayer, site
prefix = sys.argv[1]
IPCChannelLayer(prefix=prefix)
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})

async def main():
    async with IPCChannelLayer(prefix=prefix) as layer:
        channel = await layer.new_channel()
        await layer.send(channel, {{"n": 1}})
        assert await layer.receive(channel) == {{"n": 1}}
        await layer.send("work", {{"n": 2}})
        assert await layer.receive("work") == {{"n": 2}}

for path in sys.argv[2:]:
    for flags in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.open(path, flags | os.O_NONBLOCK)
        except PermissionError:
            continue
        raise SystemExit(f"{{path}} can be opened")
try:
    asyncio.run(main())
except InvalidChannelLayerError as error:
    print(error)
"""


def use_as_nobody(prefix: str, *paths: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", USING, prefix, *paths], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.asyncio
async def test_another_user_has_memory_of_its_own(prefix: str) -> None:
    """Also in a process that was started as this one, as servers are that give up their rights."""
    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.new_channel()
        await layer.send("work", {"n": 0})
        before = remains(prefix)
        paths = [str(SHARED / name) for name in before]
        assert await asyncio.to_thread(use_as_nobody, prefix, *paths) == ""
        assert remains(prefix) == before
        assert await layer.receive("work") == {"n": 0}


def _make_file(path: str) -> None:
    with open(path, "wb") as file:
        file.write(bytes(8192))


@pytest.mark.parametrize("mode", [0o600, 0o666])
@pytest.mark.parametrize(
    ("ending", "make"),
    [("-d", _make_file), (".lock", _make_file), ("-0", _make_file), ("-n0", _make_file), ("-0.bell", os.mkfifo)],
)
def test_what_another_user_has_put_there_is_refused(
    prefix: str, monkeypatch: pytest.MonkeyPatch, mode: int, ending: str, make: Callable[[str], None]
) -> None:
    with monkeypatch.context() as nobody:
        nobody.setattr(os, "geteuid", lambda: NOBODY)
        base = Site(prefix).base[1:]
    path = SHARED / (base + ending)
    make(str(path))
    try:
        path.chmod(mode)
        assert str(path).removesuffix(".lock").removesuffix(".bell") in use_as_nobody(prefix)
        left = {each.name for each in SHARED.glob(base + "*")}
        assert left == {path.name}
    finally:
        for each in SHARED.glob(base + "*"):
            each.unlink()
