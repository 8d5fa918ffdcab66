"""A layer whose verbs run in another process: what stands for the sender in the suite, to see that nothing but the
shared memory connects the two.
"""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import threading
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from channel_layers.ipc import IPCChannelLayer

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["asyncio", "channel_layers.ipc", "msgpack", "posix_ipc"])


class LayerApart:
    """Has the attributes of a layer here, and its verbs there. Any number of them run there at once."""

    def __init__(self, **config: Any) -> None:
        self._here = IPCChannelLayer(**config)  # for its attributes; it is never joined
        self._pipe, theirs = _context.Pipe()
        self._process = _context.Process(target=_serve, args=(theirs, config), daemon=True)
        self._process.start()
        theirs.close()
        self._numbers = itertools.count()
        self._answers: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._here, name)

    def _ask(self, verb: str, *arguments: Any) -> tuple[int, Future[Any]]:
        answer: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = answer
            self._pipe.send((number, verb, arguments))
        return number, answer

    def _listen(self) -> None:
        try:
            while True:
                number, result, error = self._pipe.recv()
                answer = self._answers.pop(number)
                if error is None:
                    answer.set_result(result)
                else:
                    answer.set_exception(error)
        except (EOFError, OSError):
            return

    async def _run(self, verb: str, *arguments: Any) -> Any:
        number, answer = self._ask(verb, *arguments)
        try:
            return await asyncio.shield(asyncio.wrap_future(answer))
        except asyncio.CancelledError:
            self._ask("cancel", number)
            return await asyncio.wrap_future(answer)  # its result, if it was quicker; otherwise CancelledError

    async def send(self, channel: str, message: Any) -> None:
        await self._run("send", channel, message)

    async def receive(self, channel: str) -> Any:
        return await self._run("receive", channel)

    async def new_channel(self, prefix: str = "specific") -> str:
        return await self._run("new_channel", prefix)

    async def discard_channel(self, channel: str) -> None:
        await self._run("discard_channel", channel)

    async def group_add(self, group: str, channel: str) -> None:
        await self._run("group_add", group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._run("group_discard", group, channel)

    async def group_send(self, group: str, message: Any) -> None:
        await self._run("group_send", group, message)

    async def flush(self) -> None:
        await self._run("flush")

    def statistics(self) -> Any:
        return self._ask("statistics")[1].result(30)

    async def close(self) -> None:
        await self._run("close")

    def end(self) -> None:
        """End the process. Closing the pipe would not do: the listening thread still holds it."""
        with self._lock, suppress(OSError):
            self._pipe.send((None, "end", ()))
        self._process.join(10)
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, config: dict[str, Any]) -> None:
    asyncio.run(_serve_until_closed(pipe, config))


async def _serve_until_closed(pipe: Connection, config: dict[str, Any]) -> None:
    layer = IPCChannelLayer(**config)
    loop = asyncio.get_running_loop()
    tasks: dict[int, asyncio.Task[None]] = {}
    closed = asyncio.Event()

    async def work(number: int, verb: str, arguments: tuple[Any, ...]) -> None:
        result, error = None, None
        try:
            result = layer.statistics() if verb == "statistics" else await getattr(layer, verb)(*arguments)
        except BaseException as raised:
            error = raised
        pipe.send((number, result, error))
        del tasks[number]

    def hear() -> None:
        try:
            number, verb, arguments = pipe.recv()
        except (EOFError, OSError):
            verb = "end"
        if verb == "end":
            loop.remove_reader(pipe.fileno())
            closed.set()
        elif verb == "cancel":
            if arguments[0] in tasks:
                tasks[arguments[0]].cancel()
            pipe.send((number, None, None))
        else:
            tasks[number] = loop.create_task(work(number, verb, arguments))

    loop.add_reader(pipe.fileno(), hear)
    await closed.wait()
    await layer.close()
