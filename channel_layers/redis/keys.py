"""What the keys of the layers are called: ``<prefix>:cl1:<kind>:<name>``.

``cl1`` is the version of the format: layers of different versions do not see each other. A ``{`` behind it is reserved
for hash tags.
"""

from __future__ import annotations

from typing import Any

from ..checks import require_prefix

VERSION = "cl1"


class Keys:
    """The keys of one layer.

    :param prefix: of all keys.
    :raises InvalidChannelLayerError: for a prefix other than 1 to 64 ASCII letters, digits, ``.``, ``_`` and ``-``.
    """

    def __init__(self, prefix: Any) -> None:
        self.all = f"{require_prefix(prefix)}:{VERSION}:"
        self.epoch = f"{self.all}epoch"
        self.servers = f"{self.all}servers"

    def mailbox(self, client: str) -> str:
        """Stream of what was sent to the channels of a process and to groups with members there, while it lives."""
        return f"{self.all}mailbox:{client}"

    def early(self, client: str) -> str:
        """Stream of what was sent there before the process registered its mailbox, or after its lease had ended."""
        return f"{self.all}early:{client}"

    def unread(self, client: str) -> str:
        """Hash: channel of a process -> its unread direct messages."""
        return f"{self.all}unread:{client}"

    def control(self, client: str) -> str:
        """Stream of memberships of the process's channels that other processes began or ended."""
        return f"{self.all}control:{client}"

    def wake(self, client: str) -> str:
        """List that ends the process's waiting for messages of normal channels."""
        return f"{self.all}wake:{client}"

    def presence(self, client: str) -> str:
        """Pub/Sub name to which only this process subscribes: who publishes nothing learns that it is there."""
        return f"{self.all}presence:{client}"

    def queue(self, channel: str) -> str:
        """List of the unread messages of a normal channel."""
        return f"{self.all}queue:{channel}"

    def groups(self, channel: str) -> str:
        """Set of the groups that a normal channel is a member of."""
        return f"{self.all}groups:{channel}"

    def group(self, group: str) -> str:
        """Hash of the processes and normal channels that a group reaches."""
        return f"{self.all}group:{group}"

    def flushed(self, nonce: str) -> str:
        """List of the processes that have emptied what they hold, for one flush."""
        return f"{self.all}flushed:{nonce}"

    @property
    def pattern(self) -> str:
        """All keys, as SCAN matches them."""
        return self.all + "*"
