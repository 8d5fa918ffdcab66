"""Which of several servers a name belongs to: the same for everybody who knows the same servers.

Rendezvous hashing: each server draws a number for the name, and the highest wins. A server that is added takes its
share from all others alike, and nothing else moves; the order in which the servers are listed means nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

from .remembered import Remembered

#: Names whose server is remembered.
_REMEMBERED = 20_000

_MASK = (1 << 64) - 1

#: Odd numbers with no pattern in their bits: those that the finaliser of MurmurHash3 mixes 64 bits with.
_MIX, _MIX_AGAIN = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53


class Ring:
    """Servers by their stable names.

    :param names: all different.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._servers = [(_number(name), index) for index, name in enumerate(names)]
        self._found = Remembered(self._draw, _REMEMBERED)

    def find(self, name: str) -> int:
        """The place of the server in the list that a channel or a group belongs to."""
        return self._found[name]

    def _draw(self, name: str) -> int:
        number, highest, winner = _number(name), -1, -1
        for server, index in self._servers:
            drawn = (number ^ server) * _MIX & _MASK
            drawn = (drawn ^ drawn >> 32) * _MIX_AGAIN & _MASK
            if drawn > highest:
                highest, winner = drawn, index
        return winner


def _number(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")
