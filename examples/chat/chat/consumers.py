"""The two consumers: one per open page, and one behind the ``dice`` channel."""

import contextlib
import json
import logging
import os
import random
import uuid
from typing import Any
from urllib.parse import parse_qs

from autobahn.exception import Disconnected
from channels.consumer import AsyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncWebsocketConsumer

from chat.rules import BadInput, clean_name, clean_room, clean_text, group_name, parse_roll

logger = logging.getLogger(__name__)

# Close code of a socket that need not try again: its address is wrong (4000 and above are ours to define).
REFUSED = 4400


class ChatConsumer(AsyncWebsocketConsumer):
    """One person in one room.

    Nobody keeps a list of who is present. A newcomer joins the group and then announces itself to the group; everyone
    who hears it answers to the newcomer's own channel. Of any two people, whoever announced later was heard by the
    other, so both know of each other, in however many processes they are.
    """

    group: str | None = None  # None: not in a room, because the address was refused

    async def connect(self) -> None:
        # Accepted first, since a browser shows a page nothing of why a handshake was refused.
        await self.accept()
        try:
            room = clean_room(self.scope["url_route"]["kwargs"]["room"])
            query = parse_qs(self.scope["query_string"].decode("ascii", "replace"))
            name = clean_name(query.get("name", [""])[0])
        except BadInput as refusal:
            await self.tell("error", text=str(refusal))
            await self.close(code=REFUSED)
            return
        self.person = {"id": uuid.uuid4().hex, "name": name}
        self.group = group_name(room)
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.tell("welcome", room=room, process=os.getpid(), **self.person)
        await self.channel_layer.group_send(
            self.group, {"type": "room.joined", "person": self.person, "reply_to": self.channel_name}
        )

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False) -> None:
        # Between the end of a socket and the news of it, events of the room still come. Servers then raise: Daphne a
        # Disconnected, others the OSError that ASGI asks for. Dying of it would skip ``disconnect``, which is on its
        # way, and the room would never hear that this person left.
        with contextlib.suppress(Disconnected, OSError):
            await super().send(text_data, bytes_data, close)

    async def disconnect(self, code: int) -> None:
        if self.group is None:
            return
        # Out first: who announces itself from here on gets no answer from somebody who is leaving.
        await self.channel_layer.group_discard(self.group, self.channel_name)
        await self.tell_room("left", **self.person)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self.group is None:
            return
        try:
            text = clean_text(_decode(text_data).get("text"))
            if text.startswith("/"):
                await self.roll(*parse_roll(text))
            else:
                await self.tell_room("message", text=text, **self.person)
        except BadInput as refusal:
            await self.tell("error", text=str(refusal))

    async def roll(self, count: int, sides: int) -> None:
        """Hand the work to the worker, which answers to the whole room."""
        work = {"type": "dice.roll", "group": self.group, "person": self.person, "count": count, "sides": sides}
        try:
            await self.channel_layer.send("dice", work)
        except ChannelFull:
            raise BadInput("The dice are busy. Try again in a moment.") from None

    # What arrives from the layer

    async def room_event(self, message: dict[str, Any]) -> None:
        """Pass an event of the room on to the page."""
        await self.send(text_data=json.dumps(message["event"]))

    async def room_joined(self, message: dict[str, Any]) -> None:
        """Show the newcomer, and tell it that we are here."""
        await self.tell("joined", **message["person"])
        if message["reply_to"] == self.channel_name:
            return
        try:
            await self.channel_layer.send(message["reply_to"], _room_event("present", **self.person))
        except ChannelFull:
            logger.warning("A newcomer does not read; it was not told who is present.")

    # What we say

    async def tell(self, event: str, **details: Any) -> None:
        """Send an event to this page only."""
        await self.room_event(_room_event(event, **details))

    async def tell_room(self, event: str, **details: Any) -> None:
        """Send an event to everybody in the room, this page included."""
        await self.channel_layer.group_send(self.group, _room_event(event, **details))


class DiceConsumer(AsyncConsumer):
    """The background worker: rolls dice for whoever sends to the channel ``dice``."""

    async def dice_roll(self, message: dict[str, Any]) -> None:
        count, sides = message["count"], message["sides"]
        rolls = [random.randint(1, sides) for _ in range(count)]
        event = _room_event("roll", dice=f"{count}d{sides}", rolls=rolls, total=sum(rolls), **message["person"])
        await self.channel_layer.group_send(message["group"], event)


def _room_event(event: str, **details: Any) -> dict[str, Any]:
    return {"type": "room.event", "event": {"event": event, **details}}


def _decode(frame: str | None) -> dict[str, Any]:
    try:
        # A binary frame has no text. Deep nesting ends in a RecursionError, which is no ValueError.
        content = json.loads(frame or "")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadInput('That was no JSON object. Send for example: {"text": "Hello"}')
    return content
