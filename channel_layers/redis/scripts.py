"""The Lua scripts, one for each thing that must happen at once. Each file of ``lua/`` says what its script does.

A script is called by the hash of its text; the text itself travels once for each server, and again to one that has
forgotten it.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from typing import Any

from .connection import pack

_INCLUDE = re.compile(r"^-- include: (.+)$", re.MULTILINE)


class Script:
    """One Lua script."""

    def __init__(self, name: str) -> None:
        self.name = name
        text = _read(name)
        included = _INCLUDE.search(text)
        self.text = "\n".join([*map(_read, included[1].split()), text] if included else [text])
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def call(self, keys: tuple[str, ...], *args: Any) -> bytes:
        """The command that runs it, encoded."""
        return pack("EVALSHA", self.sha, len(keys), *keys, *args)

    def head(self, missing: int, keys: tuple[str, ...], *args: Any) -> bytes:
        """The beginning of the command, to which the last ``missing`` arguments are to be added."""
        whole = self.call(keys, *args)
        count, _, rest = whole.partition(b"\r\n")
        return b"*%d\r\n%b" % (int(count[1:]) + missing, rest)


def _read(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")


acknowledge = Script("acknowledge")
agree = Script("agree")
control = Script("control")
flush_mailbox = Script("flush_mailbox")
give_back = Script("give_back")
delist = Script("delist")
list_again = Script("list")
group_send = Script("group_send")
publish = Script("publish")
push = Script("push")
put_back = Script("put_back")
queue_join = Script("queue_join")
queue_leave = Script("queue_leave")
raise_epoch = Script("raise_epoch")
register = Script("register")
renew = Script("renew")
ring = Script("ring")
send = Script("send")

#: What a server is told when a connection to it is made.
LOADING: tuple[tuple[str, ...], ...] = tuple(
    ("SCRIPT", "LOAD", script.text) for script in tuple(globals().values()) if isinstance(script, Script)
)
