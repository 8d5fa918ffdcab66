"""A second process for a round, and the line to it."""

from __future__ import annotations

import asyncio
import faulthandler
import multiprocessing
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from benchmarks.errors import WrongResultError
from benchmarks.line import Line

GRACE_SECONDS = 1.0


@asynccontextmanager
async def partner(work: Callable[..., Awaitable[None]], *arguments: object, deadline: float) -> AsyncIterator[Line]:
    """Run ``work(line, *arguments)`` in a new process. After the block it has ended; after an error it is ended."""
    ours, theirs = socket.socketpair()
    process = multiprocessing.get_context("spawn").Process(
        target=_run, args=(work, theirs, arguments, deadline), daemon=True
    )
    process.start()
    theirs.close()
    line = await Line.over(ours)
    try:
        yield line
        await line.wait_for_end()
        await asyncio.to_thread(process.join)  # what the layer does at exit belongs to this round
    except Exception:
        # What the other side has found, or will in a moment, may be the cause of it.
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(line.wait_for_end(), GRACE_SECONDS)
        raise
    finally:
        await line.close()
        process.join(GRACE_SECONDS)  # it may still be printing why it failed
        process.terminate()
        process.join()


def _run(
    work: Callable[..., Awaitable[None]], end: socket.socket, arguments: tuple[object, ...], deadline: float
) -> None:
    # The process that started this one may have been ended hard; then nobody else ends a receive that waits for ever.
    faulthandler.dump_traceback_later(deadline + 30, exit=True)
    asyncio.run(_work(work, end, arguments))


async def _work(work: Callable[..., Awaitable[None]], end: socket.socket, arguments: tuple[object, ...]) -> None:
    line = await Line.over(end)
    try:
        await work(line, *arguments)
    except WrongResultError as problem:
        await line.complain(problem)
    finally:
        await line.close()
