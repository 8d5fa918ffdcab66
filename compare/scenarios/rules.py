"""What is refused, and where one hears of it."""

from __future__ import annotations

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from compare.scenario import Outcome, fails, none_of, passes, scenario
from compare.scenarios.steps import member, message, receive_within
from compare.site import Site

BAD_NAMES = {
    "a line break at the end": "chat\n",
    "a space": "chat room",
    "a letter beyond ASCII": "caf\u00e9",
    "a digit beyond ASCII": "chat\u0663",
    "two exclamation marks": "a!b!c",
    "nothing": "",
    "101 characters": "a" * 101,
    "a number": 5,
}
GOOD_NAMES = {"100 characters": "a" * 100, "dots, hyphens, underscores": "chat.room-1_x"}

LEGAL: dict[str, Any] = {
    "bytes": b"\x00\xff",
    "text": "caf\u00e9 \U0001f600",
    "an integer of 64 bits": -(2**63),
    "a float": 0.1,
    "None": None,
    "lists in dicts": {"a": [1, [True, {"b": "c"}]]},
}
ILLEGAL: dict[str, Any] = {
    "a datetime": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "a Decimal": Decimal("0.1"),
    "a set": {1, 2},
    "a key that is a number": {1: "one"},
    "an integer beyond 64 bits": 2**64,
    "an object": object(),
}


@scenario("Names", needs=("direct", "names"), seen="channels #1845, #1229")
async def names(site: Site) -> Outcome:
    """A room is named after what a user typed. The specification allows ASCII letters, digits, hyphens, underscores and
    periods, and 100 characters at least. What it does not allow must be refused with a TypeError where it is used, not
    work on one layer and be a mystery on another."""
    layer = site.layer()
    wrong = []
    for what, name in BAD_NAMES.items():
        try:
            await layer.send(name, message(1))  # type: ignore[arg-type]
        except TypeError:
            continue
        except Exception as problem:
            wrong.append(f"{what}: {type(problem).__name__}")
        else:
            wrong.append(f"{what} is accepted")
    for what, name in GOOD_NAMES.items():
        try:
            await layer.send(name, message(1))
        except Exception:
            wrong.append(f"{what}: refused")
    return _first_of(wrong, len(BAD_NAMES) + len(GOOD_NAMES))


@scenario("Values", needs=("types",), seen="channels_redis #254, #287, channels #1594")
async def values(site: Site) -> Outcome:
    """A message may hold what the specification lists, and must bring it over unchanged. Anything else must be refused
    at the sender, with a TypeError: in memory as well, or tests pass and production fails; and never at the receiver,
    who can do nothing about it."""
    sender, receiver = site.pair()
    wrong = []
    for number, (what, value) in enumerate({**LEGAL, **ILLEGAL}.items()):
        channel = await member(receiver, f"room.{number}")
        try:
            await sender.group_send(f"room.{number}", message(number, value=value))
        except TypeError:
            if what in LEGAL:
                wrong.append(f"{what} is refused")
            continue
        except Exception as problem:
            wrong.append(f"{what}: {type(problem).__name__} for the sender")
            continue
        if what in ILLEGAL:
            wrong.append(f"{what} is accepted")
            continue
        found = await receive_within(receiver, channel)
        if found is None or found["value"] != value or type(found["value"]) is not type(value):
            wrong.append(f"{what} arrives changed")
    return _first_of(wrong, len(LEGAL) + len(ILLEGAL))


def _first_of(wrong: list[str], total: int) -> Outcome:
    """With an example, so that one knows where to look."""
    return fails(f"{len(wrong)} of {total} wrong, such as: {wrong[0]}") if wrong else none_of(0, total, "wrong")


@scenario("A message of 8 MiB", needs=("limit",), seen="python-socketio #1581, channels #410")
async def too_large(site: Site) -> Outcome:
    """Somebody pastes a film into a chat. The specification promises room for one megabyte, and MessageTooLarge beyond
    the limit of a layer. A megabyte must arrive, eight must be refused at the sender: later they block the server for
    everybody, or have it close connections."""
    sender, receiver = site.pair()
    channel = await member(receiver, "room")
    await sender.group_send("room", message(1, text="x" * 1_000_000))
    if await receive_within(receiver, channel, 10) is None:
        return fails("1 MB does not arrive")
    try:
        await sender.group_send("room", message(2, text="x" * (8 << 20)))
    except Exception as problem:
        return passes(type(problem).__name__)
    return fails("8 MiB are accepted")


@scenario("An option that does not exist")
async def unknown_option(site: Site) -> Outcome:
    """The settings say ``capacty``. Somebody has to be told when the layer is made, and by that name; else the capacity
    is the default one for years."""
    try:
        site.layer(capacty=5)
    except Exception as problem:
        named = "capacty" in str(problem)
        return passes(type(problem).__name__) if named else fails(f"{type(problem).__name__} does not name it")
    return fails("accepted")
