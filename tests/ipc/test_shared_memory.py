"""What lies in the file system: who may open it, what is refused, what is taken over, and that nothing is left."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from in_small_memory import run_in_small_memory
from processes import Worker, until_quiet
from shared_memory import SHARED, remains, unavailable

from channel_layers import InvalidChannelLayerError
from channel_layers.ipc import IPCChannelLayer, segment
from channel_layers.ipc.site import Site

if not os.path.isdir("/dev/shm"):
    unavailable("no /dev/shm to look into")


def name_of(prefix: str) -> str:
    return Site(prefix).base


async def use(layer: IPCChannelLayer) -> None:
    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})
    assert await layer.receive(channel) == {"n": 1}
    await layer.send("normal", {"n": 2})
    assert await layer.receive("normal") == {"n": 2}


@pytest.mark.asyncio
@pytest.mark.parametrize("permissions", [0o600, 0o660])
async def test_permissions(prefix: str, permissions: int) -> None:
    before = os.umask(0o077)
    try:
        async with IPCChannelLayer(prefix=prefix, permissions=permissions) as layer:
            await use(layer)
            names = remains(prefix)
            assert len(names) == 5, "lock file, directory, mailbox, bell, normal channel"
            assert {stat.S_IMODE((SHARED / name).stat().st_mode) for name in names} == {permissions}
    finally:
        os.umask(before)


@pytest.mark.asyncio
async def test_nothing_is_left_when_the_last_one_closes(prefix: str) -> None:
    first, second = IPCChannelLayer(prefix=prefix), IPCChannelLayer(prefix=prefix)
    await use(first)
    await use(second)
    await first.close()
    assert remains(prefix)
    await use(second)
    await second.close()
    assert not remains(prefix)
    await use(first)
    await first.close()


def test_a_process_that_does_not_close_leaves_nothing(prefix: str) -> None:
    program = f"""
import asyncio
from channel_layers.ipc import IPCChannelLayer
layer = IPCChannelLayer(prefix={prefix!r})
asyncio.run(layer.new_channel())
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert not remains(prefix)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_process_of_multiprocessing_leaves_nothing(prefix: str, tmp_path: Path, method: str) -> None:
    program = f"""
import asyncio, multiprocessing
from channel_layers.ipc import IPCChannelLayer
def work():
    global layer
    layer = IPCChannelLayer(prefix={prefix!r})
    asyncio.run(layer.new_channel())
if __name__ == "__main__":
    process = multiprocessing.get_context({method!r}).Process(target=work)
    process.start()
    process.join()
    raise SystemExit(process.exitcode)
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    subprocess.run([sys.executable, str(script)], check=True, timeout=30)
    assert not remains(prefix)


@pytest.mark.asyncio
async def test_what_a_crash_leaves_is_taken_over(prefix: str) -> None:
    with Worker(prefix) as worker:
        worker.ask("new_channel")
        worker.ask("send", "normal", {"n": 0})
        worker.kill()
    assert remains(prefix)
    async with IPCChannelLayer(prefix=prefix) as layer:
        await use(layer)


@pytest.mark.asyncio
async def test_the_slot_of_a_dead_process_is_reclaimed(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        await layer.new_channel()
        for _ in range(3):
            with Worker(prefix) as worker:
                worker.ask("new_channel")
                worker.kill()
        assert len([name for name in remains(prefix) if name.endswith(".bell")]) == 2


def spoil(name: str, word: int, value: int) -> None:
    found = segment.attach(name, 1)
    assert found is not None
    found.words[word] = value


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("word", "value", "problem"),
    [(0, 12345, "does not begin"), (1, 999, "of layout 999"), (2, 1 << 60, "damaged"), (3, 7, "damaged")],
)
async def test_foreign_segments_are_refused(prefix: str, word: int, value: int, problem: str) -> None:
    layer = IPCChannelLayer(prefix=prefix)
    with Worker(prefix) as worker:
        worker.ask("new_channel")
        spoil(f"{name_of(prefix)}-d", word, value)
        with pytest.raises(InvalidChannelLayerError, match=problem):
            IPCChannelLayer(prefix=prefix)
        with pytest.raises(InvalidChannelLayerError, match=problem):
            await layer.new_channel()
        worker.kill()
    for name in remains(prefix):
        (SHARED / name).unlink()


@pytest.mark.asyncio
async def test_something_else_of_that_name_is_refused(prefix: str) -> None:
    path = SHARED / (name_of(prefix)[1:] + "-d")
    path.write_bytes(b"something else" * 1000)
    with pytest.raises(InvalidChannelLayerError, match="cannot be used"):
        IPCChannelLayer(prefix=prefix)
    path.unlink()


@pytest.mark.asyncio
async def test_a_directory_that_was_never_finished_is_made_anew(prefix: str) -> None:
    path = SHARED / (name_of(prefix)[1:] + "-d")
    path.write_bytes(bytes(4096))
    async with IPCChannelLayer(prefix=prefix) as layer:
        await use(layer)


@pytest.mark.asyncio
async def test_a_lock_file_that_is_a_link_is_refused(prefix: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("")
    lock = SHARED / (name_of(prefix)[1:] + ".lock")
    lock.symlink_to(victim)
    with pytest.raises(InvalidChannelLayerError, match="lock file"):
        await IPCChannelLayer(prefix=prefix).new_channel()
    lock.unlink()


@pytest.mark.parametrize("size", ["4m", "64k"])
def test_a_small_shared_memory(prefix: str, size: str) -> None:
    program = f"""
import asyncio, os
from channel_layers import InvalidChannelLayerError
from channel_layers.ipc import IPCChannelLayer
async def main():
    try:
        async with IPCChannelLayer(prefix={prefix!r}) as layer:
            await layer.new_channel()
    except InvalidChannelLayerError as error:
        assert "message_memory" in str(error) and "/dev/shm" in str(error), error
    else:
        raise SystemExit("no error")
    if {size!r} == "4m":
        async with IPCChannelLayer(prefix={prefix!r}, message_memory=1 << 20) as layer:
            channel = await layer.new_channel()
            await layer.send(channel, {{"n": 1}})
            assert await layer.receive(channel) == {{"n": 1}}
asyncio.run(main())
assert not [name for name in os.listdir("/dev/shm")], os.listdir("/dev/shm")
"""
    run_in_small_memory(size, program)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("prefix", "a b"),
        ("prefix", "x" * 65),
        ("prefix", None),
        ("message_memory", 100),
        ("message_memory", 1.5),
        ("message_memory", True),
        ("permissions", 0o400),
        ("permissions", "600"),
        ("permissions", 0o1777),
        ("hosts", []),
    ],
)
def test_bad_options_are_named(option: str, value: Any) -> None:
    with pytest.raises(InvalidChannelLayerError, match=option):
        IPCChannelLayer(**{option: value})


@pytest.mark.parametrize("missing", ["posix_ipc", "msgpack", "fcntl"])
def test_what_is_missing_is_said_at_construction(missing: str) -> None:
    program = f"""
import asyncio, os, signal, sys
sys.modules[{missing!r}] = None
if {missing!r} == "fcntl":  # Windows lacks these, too
    del signal.SIGPIPE, signal.pthread_sigmask, signal.sigpending, signal.sigwait
    del os.fork, os.register_at_fork, os.mkfifo, os.getuid, os.O_CLOEXEC, os.O_NOFOLLOW, os.O_NONBLOCK
from channel_layers.ipc import IPCChannelLayer
from channel_layers import InvalidChannelLayerError
try:
    IPCChannelLayer()
except InvalidChannelLayerError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ("Windows" if missing == "fcntl" else "pip install 'channel_layers[ipc]'") in done.stdout


@pytest.mark.asyncio
async def test_a_full_mailbox(prefix: str) -> None:
    """When memory is short, direct sends say so, and group messages are dropped and counted."""
    async with IPCChannelLayer(prefix=prefix) as sender:
        with Worker(prefix, message_memory=8192) as worker:
            _, channel = worker.ask("new_channel")
            worker.ask("group_add", "room", channel)
            worker.ask("arm", "take.copied", "SIGSTOP")
            await sender.send(channel, {"n": 0})
            worker.until_stopped()
            count = 0
            with suppress(sender.ChannelFull):
                while True:
                    await sender.send(channel, {"n": 1, "text": "x" * 1000})
                    count += 1
            assert count == 7
            await sender.group_send("room", {"n": 2, "text": "x" * 1000})
            worker.go_on()
            assert worker.ask("receive_many", channel, 8) == ["done", [0] + 7 * [1]]
            with pytest.raises(sender.MessageTooLarge):
                await sender.send(channel, {"text": "x" * 9000})


@pytest.mark.asyncio
async def test_a_stopped_process_does_not_hold_up_a_flush(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        with Worker(prefix) as worker:
            _, channel = worker.ask("new_channel")
            worker.ask("arm", "take.copied", "SIGSTOP")
            await layer.send(channel, {"n": 0})
            worker.until_stopped()
            await layer.send(channel, {"n": 1})
            await layer.flush()
            await layer.send(channel, {"n": 2})
            worker.go_on()
            assert worker.ask("receive_many", channel, 1) == ["done", [2]]


@pytest.mark.asyncio
async def test_an_idle_layer_uses_no_processor_time(prefix: str) -> None:
    async with IPCChannelLayer(prefix=prefix) as layer:
        waiting = asyncio.create_task(layer.receive(await layer.new_channel()))
        await until_quiet(layer)
        before = os.times()
        await asyncio.sleep(1)  # idleness can only be seen over time
        after = os.times()
        assert after.user + after.system - before.user - before.system < 0.02
        waiting.cancel()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not show what is mapped")
def test_a_layer_that_is_closed_keeps_nothing_mapped(prefix: str) -> None:
    layer = IPCChannelLayer(prefix=prefix)

    async def use_and_close() -> set[str]:
        await use(layer)
        names = set(remains(prefix))
        await layer.close()
        return names

    names = asyncio.run(use_and_close())
    gc.collect()
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert names
    assert [name for name in names if f"{name} (deleted)" in mapped] == []
