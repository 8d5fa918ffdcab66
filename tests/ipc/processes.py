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
import time
from typing import Any

from channel_layers import ChannelFull, LayerUnavailable
from channel_layers.ipc import IPCChannelLayer, faults


class Worker:
    """The leading side."""

    def __init__(self, prefix: str, **config: Any) -> None:
        command = [sys.executable, __file__, json.dumps({"prefix": prefix, **config})]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, verb: str, *arguments: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
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


def _arm(label: str, name: str) -> None:
    def hook(passed: str) -> None:
        if passed == label:
            faults.hook = None
            os.kill(os.getpid(), getattr(signal, name))
            if name == "SIGSTOP":
                time.sleep(0)  # here it goes on

    faults.hook = hook


async def _storm(layer: IPCChannelLayer, channel: str, writer: int) -> None:
    """Use every verb until somebody kills this process."""
    own = await layer.new_channel()
    for number in range(1_000_000):
        message = {"writer": writer, "n": number}
        try:
            await layer.send(channel, {**message, "by": "send"})
            await layer.group_add("room", own)
            await layer.group_send("room", {**message, "by": "group_send"})
            await layer.receive(own)
            await layer.send("normal", message)
            await layer.group_discard("room", own)
        except (ChannelFull, LayerUnavailable):
            await asyncio.sleep(0.01)


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
                answer: Any = _arm(*arguments)
            elif verb == "storm":
                answer = await _storm(layer, *arguments)
            elif verb == "receive_many":
                answer = [(await layer.receive(arguments[0]))["n"] for _ in range(arguments[1])]
            else:
                answer = await getattr(layer, verb)(*arguments)
        except Exception as error:
            answer = type(error).__name__
        print(json.dumps(["done", answer]), flush=True)
    await layer.close()


if __name__ == "__main__":
    asyncio.run(_work(json.loads(sys.argv[1])))
