"""People's own tests of consumers pass: many, in any order, in parallel; no warning, nothing left over."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("channels")
pytest.importorskip("xdist")

CONFTEST = """
from django.conf import settings

settings.configure(CHANNEL_LAYERS={"default": {"BACKEND": "channel_layers.memory.InMemoryChannelLayer"}})
"""

PRELUDE = """
import pytest
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator


class Echo(AsyncWebsocketConsumer):
    groups = ["everybody"]

    async def receive(self, text_data=None, bytes_data=None):
        await self.channel_layer.group_send("everybody", {"type": "said", "text": text_data})

    async def said(self, event):
        await self.send(text_data=event["text"])
"""

TEST = """

@pytest.mark.asyncio
async def test_{number}():
    here = WebsocketCommunicator(Echo.as_asgi(), "/")
    there = WebsocketCommunicator(Echo.as_asgi(), "/")
    await here.connect(timeout=30)
    await there.connect(timeout=30)
    await here.send_to(text_data="{number}")
    assert await here.receive_from(timeout=30) == await there.receive_from(timeout=30) == "{number}"
    await here.disconnect(timeout=30)
    await there.disconnect(timeout=30)
    assert get_channel_layer().statistics().unread == 0
"""


def test_two_hundred_tests_in_random_order_on_four_workers(tmp_path: Path) -> None:
    numbers = list(range(200))
    random.Random(2026).shuffle(numbers)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    for part in range(4):
        tests = [TEST.format(number=number) for number in numbers[part::4]]
        (tmp_path / f"test_part_{part}.py").write_text(PRELUDE + "".join(tests))
    options = [
        "-q",
        "-n4",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 passed" in done.stdout
    assert "warning" not in done.stdout
