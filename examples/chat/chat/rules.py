"""What the chat accepts, and how a room becomes a group.

Pages, sockets and the sync view share these rules, so that all of them refuse the same input with the same words.
"""

import hashlib
import re
import unicodedata

MAX_NAME = 40
MAX_ROOM = 60
MAX_TEXT = 2000
MAX_DICE = 20
MAX_SIDES = 1000

# Control characters, lone surrogates (they cannot be encoded), line and paragraph separators.
_UNUSABLE = {"Cc", "Cs", "Zl", "Zp"}
_ROLL = re.compile(r"/roll\s+(\d{0,4})d(\d{1,5})", re.ASCII | re.IGNORECASE)


class BadInput(ValueError):  # noqa: N818  (it is the visitor's error, and its text is written for them)
    """Input that the chat refuses; the message is shown to whoever sent it."""


def group_name(room: str) -> str:
    """The layer's group of a room.

    Group names are up to 100 ASCII letters, digits, ``-``, ``_`` and ``.``, while people call a room "Café ☕". A
    digest is always legal and always short; nobody needs the way back.
    """
    return f"room.{hashlib.sha256(room.encode()).hexdigest()}"


def clean_room(value: str) -> str:
    """The room a visitor means: "Cafe" plus a combining accent is the room "Café"."""
    room = _one_line("A room name", value, MAX_ROOM)
    if "/" in room or room in {".", ".."}:
        raise BadInput('A room name is part of an address: it has no slash, and is not "." or "..".')
    return room


def clean_name(value: str) -> str:
    """The name a visitor is seen by."""
    return _one_line("Your name", value, MAX_NAME)


def clean_text(value: object) -> str:
    """The text of a message; it may have several lines."""
    if not isinstance(value, str):
        raise BadInput('A message needs a "text", and the text must be a string.')
    text = value.strip()
    if not text:
        raise BadInput("A message needs some text.")
    if len(text) > MAX_TEXT:
        raise BadInput(f"A message has up to {MAX_TEXT} characters; this one has {len(text)}.")
    if any(unicodedata.category(character) == "Cs" for character in text):
        raise BadInput("The text holds half a character (a lone surrogate).")
    return text


def parse_roll(text: str) -> tuple[int, int]:
    """Number of dice and sides of ``/roll 2d6``."""
    match = _ROLL.fullmatch(text)
    if match is None:
        raise BadInput("The one command here is /roll, for example: /roll 2d6")
    count, sides = int(match[1] or 1), int(match[2])
    if not (1 <= count <= MAX_DICE and 2 <= sides <= MAX_SIDES):
        raise BadInput(f"You can roll 1 to {MAX_DICE} dice of 2 to {MAX_SIDES} sides.")
    return count, sides


def _one_line(what: str, value: str, longest: int) -> str:
    line = unicodedata.normalize("NFC", value).strip()
    categories = {unicodedata.category(character) for character in line}
    # A name of nothing but spaces and joiners would be there, but unseen.
    if not any(category[0] in "LNPS" for category in categories):
        raise BadInput(f"{what} must not be empty.")
    if len(line) > longest:
        raise BadInput(f"{what} has up to {longest} characters; this one has {len(line)}.")
    if categories & _UNUSABLE:
        raise BadInput(f"{what} is one line, without control characters.")
    return line
