"""What is published: who sent it as what number at what time, and the message, or several for one process.

=====================  ==================================================================================
bytes                  meaning
=====================  ==================================================================================
8                      writer
8                      number: higher than all that this writer has published before
8                      milliseconds since 1970 by the server's clock when it was sent
the rest               of a group: the message. Of a process: entries, as follows
1                      length of the name of the channel; 0 for a request or an answer to one
4                      length of the message
...                    name, message
=====================  ==================================================================================
"""

from __future__ import annotations

from struct import Struct

HEAD = Struct(">QQQ")

_ENTRY = Struct(">BI")

#: What stands before the name and the message, where there is only one.
ALONE = Struct(">QQQBI")


def entry_head(channel: str) -> bytes:
    """The parts of an entry that are the same for all messages of a channel: to be given to :func:`entry`."""
    name = channel.encode()
    return bytes([len(name)]) + name


def entry(head: bytes, payload: bytes) -> bytes:
    """A message to one channel."""
    return b"%b%b%b%b" % (head[:1], len(payload).to_bytes(4, "big"), head[1:], payload)


def entries(data: bytes) -> list[tuple[str, bytes]]:
    """The messages to the channels of a process, in their order."""
    found: list[tuple[str, bytes]] = []
    at, size, unpack, length = HEAD.size, len(data), _ENTRY.unpack_from, _ENTRY.size
    while at < size:
        name_length, payload_length = unpack(data, at)
        name_end = at + length + name_length
        end = name_end + payload_length
        found.append((data[at + length : name_end].decode(), data[name_end:end]))
        at = end
    return found
