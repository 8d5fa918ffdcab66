"""The chat in several processes: who is served by one sees who is served by another; and any of them may be killed."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if not os.environ.get("CI"):  # where the import below fails instead
    pytest.importorskip("websockets")

from visitors import visit

needs_proc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc who serves")


@contextlib.contextmanager
def stopped(process: int) -> Iterator[None]:
    """Whoever comes meanwhile is served by another process."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.asyncio
async def test_visitors_of_different_processes_see_each_other(chat_server, room):
    async with visit(chat_server, room, "Ann") as ann, contextlib.AsyncExitStack() as stack:
        with stopped(ann.process):
            bob = await stack.enter_async_context(visit(chat_server, room, "Bob"))
        assert bob.process != ann.process
        await ann.hears("joined", name="Bob")
        await bob.hears("present", name="Ann")
        await ann.say("Hello")
        await bob.hears("message", name="Ann", text="Hello")
        await bob.say("/roll 2d6")
        await ann.hears("roll", name="Bob")
        await stack.aclose()
        await ann.hears("left", name="Bob")


@pytest.mark.asyncio
@needs_proc
async def test_a_process_that_is_killed_is_replaced(serve, room, tmp_path, wait_until):
    with serve(tmp_path, complaints=r"has ended\. Another takes its place|\(expired\)") as chat:
        before = chat.workers()
        async with visit(chat, room, "Ann") as ann, contextlib.AsyncExitStack() as stack:
            with stopped(ann.process):
                bob = await stack.enter_async_context(visit(chat, room, "Bob"))
            os.kill(bob.process, signal.SIGKILL)
            wait_until(lambda: len(chat.workers() - before) == 1, "another process serves")
            async with visit(chat, room, "Eve") as eve:
                await ann.hears("joined", name="Eve")
                await eve.hears("present", name="Ann")
        assert "has ended. Another takes its place" in chat.errors.read_text()


@needs_proc
def test_processes_end_with_their_leader(serve, tmp_path, wait_until):
    with serve(tmp_path) as chat:
        workers = chat.workers()
        assert len(workers) == 2
        chat.process.kill()
        chat.process.wait()
        wait_until(lambda: all(map(is_gone, workers)), "the workers have ended")
        assert chat.remains() == []


@pytest.mark.asyncio
@needs_proc
async def test_the_chat_starts_again_after_everything_was_killed(serve, room, tmp_path, wait_until):
    with serve(tmp_path / "first") as chat:
        workers = chat.workers()
        async with visit(chat, room, "Ann"):
            for process in (*workers, chat.process.pid):
                os.kill(process, signal.SIGSTOP)
            for process in (*workers, chat.process.pid):
                os.kill(process, signal.SIGKILL)
            chat.process.wait()
            wait_until(lambda: all(map(is_gone, workers)), "the workers are gone")
        assert chat.remains()
    with serve(tmp_path / "second", chat.port) as chat:
        async with visit(chat, room, "Ann") as ann, visit(chat, room, "Bob"):
            await ann.hears("joined", name="Bob")


@pytest.mark.asyncio
async def test_one_process_serves_where_there_is_no_shared_memory(serve, room, tmp_path):
    program = (
        "import os, sys; sys.modules['posix_ipc'] = None; sys.path.insert(0, sys.argv.pop(1));"
        "import manage; manage.main()"
    )
    folder = Path(__file__).parents[2] / "examples" / "chat"
    command = [sys.executable, *["-O"] * sys.flags.optimize, "-c", program, str(folder), "serve"]
    with serve(tmp_path, command=command, complaints="One process serves everybody") as chat:
        async with visit(chat, room, "Ann") as ann, visit(chat, room, "Bob") as bob:
            assert ann.process == bob.process
            await ann.hears("joined", name="Bob")
            await ann.say("/roll 2d6")
            await bob.hears("roll", name="Ann")
        assert "channel_layers[ipc]" in chat.errors.read_text()
