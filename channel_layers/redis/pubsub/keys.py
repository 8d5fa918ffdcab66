"""What the Pub/Sub layer calls things: ``<prefix>:cl1:pubsub:<database>:<kind>:<name>``.

The database is part of every name, since a server has one space of published names for all its databases.
"""

from __future__ import annotations

from ..keys import Keys


class PubSubKeys(Keys):
    """The keys and the published names of one layer in one database."""

    def __init__(self, prefix: str, database: int) -> None:
        super().__init__(prefix)
        self.all = f"{self.all}pubsub:{database}:"
        self.epoch = f"{self.all}epoch"
        self.servers = f"{self.all}servers"
        #: Name to which every process is subscribed.
        self.everyone = f"{self.all}everyone"
