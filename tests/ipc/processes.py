"""A process that does what it is told, one line at a time, and kills or stops itself at a labelled step of its choice.

Run as a script it is that process; imported, it starts and leads one.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from channel_layers.ipc import IPCChannelLayer, faults
from channel_layers.ipc.mailbox import SLEEPING

#: Seconds: what takes longer than this is taken for stuck.
DEADLINE = 30.0


class Worker:
    """The leading side."""

    def __init__(self, prefix: str, **config: Any) -> None:
        command = [sys.executable, __file__, json.dumps({"prefix": prefix, **config})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        #: Whether it was told something, and has not answered yet.
        self.is_busy = False

    def tell(self, verb: str, *arguments: Any) -> None:
        assert self.process.stdin is not None
        self.is_busy = True
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.is_busy = False
        return json.loads(line) if line else None

    def ask(self, verb: str, *arguments: Any) -> Any:
        """What the verb returned; None if the process has died over it."""
        self.tell(verb, *arguments)
        return self.hear()

    def until_stopped(self) -> None:
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Let it close its layer and end."""
        if self.process.poll() is None:
            self.go_on()
            self.tell("end")
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.end()
        finally:
            if self.process.poll() is None:
                self.kill()


async def _arm(layer: IPCChannelLayer, label: str, name: str) -> None:
    """Let the signal come at the next passage of a label, which is one that the next command leads to: until its reader
    sleeps, the layer passes some by itself.
    """
    await until_quiet(layer)

    def hook(passed: str) -> None:
        if passed == label:
            faults.hook = None
            # To this thread: a signal to the process may be taken by another one, and this would go on for a moment.
            signal.pthread_kill(threading.get_ident(), getattr(signal, name))

    faults.hook = hook


async def until_quiet(layer: IPCChannelLayer) -> None:
    """Wait until the layer has looked after all that came, and sleeps."""
    while not _is_quiet(layer):  # noqa: ASYNC110 - what is waited for is in shared memory
        await asyncio.sleep(0.001)


def _is_quiet(layer: IPCChannelLayer) -> bool:
    client = layer._client
    reader = client.reader
    if reader is None:
        return True
    # Under both locks: who goes to sleep has left them, then.
    with client.inbox.lock:
        assert client.door is not None
        is_asleep = client.door.run(lambda: reader.words[SLEEPING]) > 0
        return is_asleep and not client.inbox.has_unmarked


async def _receive_and_cancel(layer: IPCChannelLayer, channel: str, turns: int) -> Any:
    """Begin to receive, and cancel it after some turns of the loop; the message, if it was quicker."""
    waiting = asyncio.create_task(layer.receive(channel))
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    return None if waiting.cancelled() else waiting.result()


async def _work(config: dict[str, Any]) -> None:
    layer = IPCChannelLayer(**config)
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        verb, *arguments = json.loads(line) if line else ["end"]
        if verb == "end":
            break
        try:
            if verb == "arm":
                answer: Any = await _arm(layer, *arguments)
            elif verb == "use":
                await layer.close()
                layer = IPCChannelLayer(**arguments[0])
                answer = None
            elif verb == "until_quiet":
                answer = await until_quiet(layer)
            elif verb == "receive_many":
                answer = [(await layer.receive(arguments[0]))["n"] for _ in range(arguments[1])]
            elif verb == "receive_and_cancel":
                answer = await _receive_and_cancel(layer, *arguments)
            elif verb == "statistics":
                answer = {**vars(layer.statistics())}
            else:
                answer = await getattr(layer, verb)(*arguments)
        except Exception as error:
            answer = type(error).__name__
        print(json.dumps(["done", answer]), flush=True)
    await layer.close()


if __name__ == "__main__":
    asyncio.run(_work(json.loads(sys.argv[1])))
