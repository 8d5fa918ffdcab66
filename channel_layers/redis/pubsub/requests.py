"""Asking another process for what only it can do: to let one of its channels join or leave a group, or end.

A request and the answer to it travel as entries without a channel, on the same way as messages and in order with them.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ...background import background_loop, in_background
from ..errors import RedisUnavailable
from ..futures import end
from .envelope import entry, entry_head

if TYPE_CHECKING:
    from .shard import PubSubShard

#: Seconds after which a process that is not there, or has not answered, is asked again: it may be about to connect, or
#: have lost its connection with the request, or with the answer. Doubled each time that it is there.
_ASK_AGAIN = 0.05

#: Requests of others that are known when they are repeated: the latest.
_REMEMBERED = 10_000

_NOBODY = entry_head("")

#: What may be asked for or answered, and of how many more words that consists.
_WORDS = {"join": 4, "leave": 4, "discard": 4, "answer": 2}


class MalformedRequestError(ValueError):
    """Whoever published it was none of us."""


def note(*words: str) -> bytes:
    """A request or an answer as an entry."""
    return entry(_NOBODY, "\n".join(words).encode())


class Requests:
    """The requests of one client at one server, and its answers to those of others."""

    def __init__(self, shard: PubSubShard) -> None:
        self._shard = shard
        self._numbers = itertools.count(1)
        # Number of a request -> its answer: an empty text, or why it could not be done. In the background loop.
        self._pending: dict[str, asyncio.Future[str]] = {}
        # Client and number of what was asked for -> the answer; None while there is none yet.
        self._heard: dict[tuple[str, str], str | None] = {}

    async def ask(self, what: str, owner: str, group: str, channel: str) -> bool:
        """Ask the owner of a channel, and wait for its answer; False if there was no such process to ask.

        In the background loop. It may be asked more than once, as it changes nothing to do the same twice.

        :raises RedisUnavailable: if it does not answer in time, or cannot do it.
        """
        seconds = self._shard.send_timeout
        asking = asyncio.ensure_future(self._ask(what, owner, group, channel, time.monotonic() + seconds))
        try:
            await asyncio.wait({asking}, timeout=seconds + _ASK_AGAIN)
        finally:
            asking.cancel()
        if not asking.done():
            raise RedisUnavailable(f"Redis at {self._shard.server.label} is away; waited {seconds:g} s")
        return asking.result()

    async def _ask(self, what: str, owner: str, group: str, channel: str, until: float) -> bool:
        shard = self._shard
        await shard.until_ready()
        number, answer = str(next(self._numbers)), background_loop().create_future()
        self._pending[number] = answer
        request = note(what, group, channel, shard.client, number)
        pause = _ASK_AGAIN
        try:
            while True:
                receivers = await (await shard.pubsub_outbox()).publish(shard.keys.mailbox(owner), request)
                left = until - time.monotonic()
                await asyncio.wait({answer}, timeout=max(0.0, min(pause, left)))
                if answer.done():
                    break
                if left <= pause:
                    if receivers:
                        break
                    return False
                if receivers:
                    pause *= 2
        finally:
            del self._pending[number]
        if not answer.done():
            raise RedisUnavailable(f"the process of {channel!r} does not answer; waited {shard.send_timeout:g} s")
        if answer.result():
            raise RedisUnavailable(f"the process of {channel!r} could not do it: {answer.result()}")
        return True

    def take(self, words: list[str]) -> None:
        """Do what another process asks for, or hear its answer. Under the lock of the inbox, in any thread."""
        what, *rest = words
        if len(rest) != _WORDS.get(what):
            raise MalformedRequestError(words)
        if what == "answer":
            number, text = rest
            background_loop().call_soon_threadsafe(self._end, number, text)
            return
        group, channel, client, number = rest
        request = client, number
        if request in self._heard:  # it is not done again: meanwhile it may have been undone
            known = self._heard[request]
            if known is not None:
                in_background(self._answer(client, number, known))
            return
        self._heard[request] = None
        if len(self._heard) > _REMEMBERED:
            del self._heard[next(iter(self._heard))]
        self._do(what, group, channel, request)

    def _do(self, what: str, group: str, channel: str, request: tuple[str, str]) -> None:
        def join_ends(error: Exception | None) -> None:
            if attempt is not None:
                with self._shard.inbox.lock:
                    (self._shard.groups.succeed if error is None else self._shard.groups.fail)(attempt)
            done(str(error or ""))

        def done(text: str = "") -> None:
            if request in self._heard:
                self._heard[request] = text
            in_background(self._answer(*request, text))

        if what == "join":
            attempt = self._shard.attempt(group, channel, join_ends)
            if attempt is not None:
                return
        elif what == "leave":
            self._shard.groups.discard(group, channel)
        else:
            self._shard.owner.end_channel(channel)
        done()

    def _end(self, number: str, text: str) -> None:
        future = self._pending.get(number)
        if future is not None:
            end(future, text)

    async def _answer(self, client: str, number: str, text: str) -> None:
        with suppress(RedisUnavailable):  # who asked learns from the clock that there is no answer
            outbox = await self._shard.pubsub_outbox()
            await outbox.publish(self._shard.keys.mailbox(client), note("answer", number, text.replace("\n", " ")))
