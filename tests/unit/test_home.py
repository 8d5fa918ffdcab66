"""Which event loop a layer is at home in."""

from __future__ import annotations

import asyncio

from channel_layers.home import Home


class Leaving(asyncio.SelectorEventLoop):
    """A loop that leaves its home, as in its own thread it may, when another thread looks at it."""

    home: Home

    def is_closed(self) -> bool:
        if hasattr(self, "home"):
            self.home.leave()
        return super().is_closed()


def test_a_home_may_leave_while_another_loop_looks_whether_it_lives() -> None:
    leaving, other = Leaving(), asyncio.new_event_loop()
    leaving.home = home = Home(lambda loop: None, lambda: None)
    home.loop = leaving
    home.call(other)
    assert home.loop is None
    for loop in (leaving, other):
        loop.close()
