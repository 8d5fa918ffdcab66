"""What came from each writer last: so that nothing is taken twice, or late."""

from __future__ import annotations

#: Writers that are remembered at the least: those that sent last.
_WRITERS = 50_000


class Writers:
    """The last number of each writer.

    It forgets who has not sent for longest: of two tables, the older is thrown away when the newer is full, and a
    writer stands in the newer whenever it has sent.
    """

    def __init__(self) -> None:
        self._newer: dict[bytes | int, int] = {}
        self._older: dict[bytes | int, int] = {}

    def takes(self, writer: bytes | int, number: int) -> bool:
        """Whether this number is above all that came from the writer before; then it is the last."""
        newer = self._newer
        last = newer.get(writer)
        if last is None:
            last = self._older.get(writer, 0)
            if len(newer) >= _WRITERS:
                self._older, newer = newer, {}
                self._newer = newer
        if number <= last:
            newer[writer] = last
            return False
        newer[writer] = number
        return True
