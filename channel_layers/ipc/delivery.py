"""From the mailbox of a client into its inbox and its memberships, record by record."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from ..remote import GroupMessage
from ..statistics import logger
from .inbox import MailboxInbox
from .mailbox import ADD, DIRECT, GROUP, REBUILD
from .memberships import Memberships
from .reader import Reader

_NAMES_REMEMBERED = 20_000


class Delivery:
    """Whoever calls a method holds the lock of the inbox, but for :meth:`report`."""

    def __init__(self, inbox: MailboxInbox, memberships: Memberships) -> None:
        self._inbox = inbox
        self._memberships = memberships
        self._names: dict[bytes, str] = {}
        #: What went wrong, until it is reported: a handler of the log may use the layer.
        self.failures: list[tuple[str, Exception]] = []

    def some(self, reader: Reader, count: int) -> int:
        """Deliver some of so many bytes that are there to be taken; how many."""
        try:
            return self._some(reader, count)
        except BaseException:
            reader.words[REBUILD] = 1  # what was taken is counted as unread, and does not get into the inbox
            raise

    def _some(self, reader: Reader, count: int) -> int:
        before = reader.taken
        try:
            records = reader.copy(count)
        except ValueError as error:
            self.failures.append(("Dropped what is in a mailbox", error))
            self._inbox.miss("its mailbox", "malformed")
            reader.taken += count
            return count
        inbox, names = self._inbox, self._names
        deliver, expiry, now = inbox.deliver_direct, inbox.expiry, monotonic()
        for record in records:
            try:
                kind, name, payload, sent_at, entry = record
                # What claims to come from the future would never expire.
                deadline = (sent_at if sent_at <= now else now) + expiry
                if kind == DIRECT:
                    deliver(names.get(name) or self._name(name), payload, deadline, entry)
                else:
                    self._change(reader, kind, name, payload, deadline)
            except Exception as error:  # of a user's get_capacity()
                self.failures.append(("Dropped a message", error))
        return reader.taken - before

    def report(self) -> None:
        """Write what went wrong to the log. Without any lock."""
        while self.failures:
            with suppress(Exception):  # another thread may report, too; and a handler that fails costs no message
                text, error = self.failures.pop(0)
                logger.error(text, exc_info=error)

    def _change(self, reader: Reader, kind: int, name: bytes, payload: bytes, deadline: float) -> None:
        group = self._name(name)
        if kind == GROUP:
            members = self._memberships.members(reader, group)
            if members:
                self._inbox.deliver_to_each(members, GroupMessage(payload), deadline)
        elif kind == ADD:
            self._memberships.add_counted(reader, group, self._name(payload))
        else:
            self.end_member(reader, group, self._name(payload))

    def count_missed(self, reader: Reader, missed: list[tuple[int, int]]) -> None:
        """Count what :meth:`Reader.take_missed` tells of, for each member that the group has now."""
        for key, count in missed:
            for channel in self._memberships.members_by_hash(reader, key) if key else ["its mailbox"]:
                for _ in range(count):
                    self._inbox.miss(channel)

    def end_member(self, reader: Reader, group: str, channel: str) -> None:
        """End a membership, or, without a group, all of a channel, and drop what it holds."""
        if group:
            self._memberships.discard(reader, group, channel)
        else:
            self._memberships.discard_channel(reader, channel)
            self._inbox.discard(channel)

    def _name(self, name: bytes) -> str:
        text = self._names.get(name)
        if text is None:
            if len(self._names) >= _NAMES_REMEMBERED:
                self._names.clear()
            text = self._names[name] = name.decode("ascii")
        return text
