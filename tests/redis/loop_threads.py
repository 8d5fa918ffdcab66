"""Threads with event loops of their own, for tests of layers that are used from several."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from sites import DEADLINE

from channel_layers.conformance.running import start_thread


class LoopThread:
    """A thread with an event loop that runs until it is told how to end."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._ended = start_thread(self._run)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.start(work).result(DEADLINE)

    def start(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stop(self) -> None:
        """The loop stands still, as it is."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.wait_for_end()

    def wait_for_end(self) -> None:
        self._ended.result(DEADLINE)

    def close(self) -> None:
        """As somebody does who knows nothing of asynchronous generators."""
        if not self.loop.is_closed():
            if self.loop.is_running():
                self.stop()
            self.loop.close()

    def end(self) -> None:
        """As asyncio.run() does."""
        self.stop()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


@pytest.fixture
def loop_thread() -> Iterator[Callable[[], LoopThread]]:
    threads: list[LoopThread] = []

    def make() -> LoopThread:
        threads.append(LoopThread())
        return threads[-1]

    yield make
    for thread in threads:
        thread.close()
