"""What an error reply of a server means to the caller of a verb."""

from __future__ import annotations

from .connection import Connection
from .errors import RedisUnavailable

#: The server is not the one that can do it, or not yet: it is left, and looked for anew.
_WRONG_SERVER = ("READONLY", "LOADING", "MASTERDOWN", "NOREPLICAS", "MISCONF", "UNKILLABLE", "BUSY ")

#: The server has forgotten the text of a script; nothing was done.
FORGOTTEN = "NOSCRIPT"


def refused(connection: Connection, reply: Exception, command: str) -> RedisUnavailable:
    """The error to raise for an error reply to a command.

    :param command: what was asked, in words, such as ``"EVALSHA (send)"``.
    """
    if isinstance(reply, RedisUnavailable):
        return reply
    text = str(reply)
    if text.startswith(_WRONG_SERVER):
        connection.fail(reply)
    if text.startswith("NOPERM"):
        text = f"the user has no right to what {command} needs; see the list of commands in the documentation ({text})"
    error = RedisUnavailable(f"Redis at {connection.server} refuses {command}: {text}")
    error.__cause__ = reply
    return error
