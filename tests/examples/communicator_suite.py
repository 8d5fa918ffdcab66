"""The chat's consumers and its sync view inside this process, with Channels' own test tools.

Collected only by ``test_chat_communicator.py``, which runs it in a process of its own.
"""

import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from chat import rules
from chat.server import DiceWorker
from django.test import Client
from project.asgi import application

import channel_layers.ipc

DEADLINE = 30


@pytest.fixture
def room() -> str:
    return f"Café ☕ {uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def visit(room: str, name: str) -> AsyncIterator[WebsocketCommunicator]:
    path = f"/rooms/{quote(room, safe='')}/?name={quote(name)}"
    visitor = WebsocketCommunicator(application, path, headers=[(b"origin", b"http://localhost")])
    accepted, _ = await visitor.connect(DEADLINE)
    assert accepted
    await hears(visitor, "welcome", name=name, room=room)
    await hears(visitor, "joined", name=name)
    try:
        yield visitor
    finally:
        await visitor.disconnect(timeout=DEADLINE)


async def hears(visitor: WebsocketCommunicator, event: str, **details: Any) -> dict[str, Any]:
    """The very next event is this one: what a page hears is not only complete, nothing else is in it."""
    heard = await visitor.receive_json_from(DEADLINE)
    assert heard.items() >= {"event": event, **details}.items()
    return heard


def test_the_layer_is_ours():
    assert type(get_channel_layer()) is channel_layers.ipc.IPCChannelLayer
    assert channel_layers.get_channel_layer() is get_channel_layer()


def test_a_page_may_stay_open_for_days():
    # It joins its group once, so the membership must not end before the page does.
    assert get_channel_layer().group_expiry is None


@pytest.mark.asyncio
async def test_two_consumers_talk(room):
    async with visit(room, "Ann") as ann:
        async with visit(room, "Bob") as bob:
            await hears(ann, "joined", name="Bob")
            await hears(bob, "present", name="Ann")
            await ann.send_json_to({"text": "Hello"})
            for visitor in (ann, bob):
                await hears(visitor, "message", name="Ann", text="Hello")
        await hears(ann, "left", name="Bob")
        assert await ann.receive_nothing()


@pytest.mark.asyncio
async def test_the_worker_answers_to_the_group(room):
    layer = get_channel_layer()
    group, channel = rules.group_name(room), await layer.new_channel()
    await layer.group_add(group, channel)
    worker = ApplicationCommunicator(application, {"type": "channel", "channel": "dice"})
    person = {"id": "1", "name": "Ann"}
    await worker.send_input({"type": "dice.roll", "group": group, "person": person, "count": 3, "sides": 6})
    event = (await layer.receive(channel))["event"]
    assert event.items() >= {"event": "roll", "name": "Ann", "dice": "3d6"}.items()
    assert event["total"] == sum(event["rolls"])
    # A worker's instance waits for the next message, so it never ends by itself.
    worker.future.cancel()
    await layer.close()


@pytest.mark.asyncio
async def test_dice_that_nobody_rolls_are_called_busy(room):
    layer = get_channel_layer()
    async with visit(room, "Ann") as ann:
        for _ in range(layer.capacity + 1):
            await ann.send_json_to({"text": "/roll d6"})
        await hears(ann, "error", text="The dice are busy. Try again in a moment.")
    await layer.flush()


def test_the_sync_view_reaches_a_group(room):
    layer = get_channel_layer()
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)(rules.group_name(room), channel)
    client = Client(enforce_csrf_checks=True, headers={"host": "localhost"})
    answer = client.post(f"/rooms/{quote(room)}/announce", {"text": "Hello"})
    assert (answer.status_code, json.loads(answer.content)["room"]) == (200, room)
    # Each async_to_sync brings an event loop of its own; the layer does not mind.
    assert async_to_sync(layer.receive)(channel)["event"] == {"event": "announcement", "text": "Hello"}


def test_a_worker_that_dies_is_noticed(caplog):
    # What Channels' worker cannot bear is a message without a type.
    async_to_sync(get_channel_layer().send)("dice", {"text": "no type"})
    DiceWorker().run()
    [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "The dice worker has died" in record.getMessage()
    assert "no type" in str(record.exc_info[1])


@pytest.mark.parametrize(
    "room", ["lobby", "Café ☕", "☕" * rules.MAX_ROOM, "\N{ZERO WIDTH JOINER}x", "a" * rules.MAX_ROOM]
)
def test_every_room_has_a_legal_group(room):
    get_channel_layer().require_valid_group_name(rules.group_name(rules.clean_room(room)))


@pytest.mark.parametrize(
    ("text", "roll"), [("/roll 2d6", (2, 6)), ("/roll d20", (1, 20)), ("/ROLL  20D1000", (20, 1000))]
)
def test_what_is_rolled(text, roll):
    assert rules.parse_roll(text) == roll


@pytest.mark.parametrize("text", ["/roll", "/roll 0d6", "/roll 2d", "/roll 2d6 3d6", "/roll ٢d6", "/rolling", "/"])
def test_what_is_not_rolled(text):
    with pytest.raises(rules.BadInput):
        rules.parse_roll(text)
