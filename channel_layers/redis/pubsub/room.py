"""Room in the channels of the very client that sends: the only ones that Pub/Sub lets anybody know of."""

from __future__ import annotations

from ..unread import RedisInbox


class LocalRoom:
    """Counts the messages that are on their way to channels of this client, so that a full one refuses more.

    :param drop_old: a full channel loses its oldest message, and so has always room.
    """

    def __init__(self, inbox: RedisInbox, drop_old: bool) -> None:
        #: Channel -> messages on their way. Guarded by the lock of the inbox.
        self.coming: dict[str, int] = {}
        self._inbox = inbox
        self._drop_old = drop_old

    def reserve(self, channel: str) -> bool:
        """Whether a channel has room for one more; then that is on its way."""
        if self._drop_old:
            return True
        with self._inbox.lock:
            coming = self.coming.get(channel, 0)
            has_room = self._inbox.has_room(channel, coming)
            if has_room:
                self.coming[channel] = coming + 1
        if self._inbox.drops.unwritten:
            self._inbox.drops.write()
        return has_room

    def release(self, channels: list[str]) -> None:
        """Messages to these did not get there."""
        with self._inbox.lock:
            for channel in channels:
                self.came(channel)

    def came(self, channel: str) -> None:
        """One is on its way no longer. Under the lock of the inbox."""
        coming = self.coming.get(channel, 0)
        if coming > 1:
            self.coming[channel] = coming - 1
        elif coming:
            del self.coming[channel]

    def forget(self) -> None:
        """What was on its way may have been lost. Under the lock of the inbox."""
        self.coming.clear()
