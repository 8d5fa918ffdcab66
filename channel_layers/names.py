"""What a channel and a group may be called, and what a name says about its channel.

Specification, *Channels* and *Strings and Unicode*: ASCII letters, digits, hyphens, underscores and periods; one ``!``
at the most, which makes a channel process-specific. At least 100 characters must be possible; here 100 are the limit.
"""

from __future__ import annotations

import os
import re
import secrets
import warnings
from typing import Any

from .checks import plain_str, shown
from .exceptions import ForeignChannelError

#: Names that a layer remembers as valid.
_NAMES_REMEMBERED = 20_000

#: Random parts of names that are drawn at once.
_DRAWN_AT_ONCE = 64

_OWNED_NAME = re.compile(r"(?:.*\.)?(cl[0-9a-f]{20})!")


def new_client_id() -> str:
    """A name for one layer object in one process: ``cl`` and 20 random hexadecimal digits."""
    return "cl" + secrets.token_hex(10)


def new_channel_name(prefix: str, client_id: str) -> str:
    """A fresh process-specific name, ``<prefix>.<client id>!<unique>``, whose last part cannot be guessed.

    :raises TypeError: for a prefix that leaves too little room for the rest.
    """
    name = f"{prefix}.{client_id}!{_unguessable()}"
    if len(name) > NameRules.MAX_NAME_LENGTH:
        longest = NameRules.MAX_NAME_LENGTH - (len(name) - len(prefix))
        raise TypeError(f"The prefix of a channel must have at most {longest} characters. Got {shown(prefix)}.")
    return name


# Drawn in advance, since to ask the system for each one costs as much as all the rest of a new name.
_drawn: list[str] = []


def _unguessable() -> str:
    try:
        return _drawn.pop()
    except IndexError:
        digits = secrets.token_hex(8 * _DRAWN_AT_ONCE)
        _drawn.extend(digits[at : at + 16] for at in range(16, len(digits), 16))
        return digits[:16]


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_drawn.clear)


def client_id_of(channel: str) -> str | None:
    """The client id in a name that ``new_channel()`` made; None for a name made by hand."""
    found = _OWNED_NAME.match(channel)
    return found[1] if found else None


class NameRules:
    """The rules for names, as methods and attributes that subclasses of Channels' base class know.

    A verb asks ``require_valid_channel_name`` and ``require_valid_group_name`` once for each name, and remembers the
    names that passed.
    """

    #: Longest permitted name, in characters.
    MAX_NAME_LENGTH = 100

    # \Z and not $, which would let a newline pass; spelled-out ranges, since \d and \w take any alphabet's.
    channel_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+(?:![a-zA-Z0-9\-_.]*)?\Z")
    group_name_regex = re.compile(r"[a-zA-Z0-9\-_.]+\Z")

    invalid_name_error = (
        "{} name must be a str of at most "
        + str(MAX_NAME_LENGTH)
        + " characters, containing only ASCII alphanumerics, hyphens, underscores, or periods;"
        + " a channel name may also hold one '!'."
    )

    def match_type_and_length(self, name: Any) -> bool:
        """Whether ``name`` is a ``str`` that is neither empty nor longer than ``MAX_NAME_LENGTH``."""
        # By its type and its real length: what a lazy object or a subclass says of itself may be something else.
        return issubclass(type(name), str) and 0 < str.__len__(name) <= self.MAX_NAME_LENGTH

    def require_valid_channel_name(self, name: Any, receive: bool = False) -> bool:
        """Return True for a legal channel name.

        :param receive: also require that a process-specific name ends at its ``!``, as the servers of Channels 1 did.
        :raises TypeError: for any other value, saying what is allowed.
        """
        if not self.match_type_and_length(name) or not self.channel_name_regex.match(name):
            raise TypeError(f"{self.invalid_name_error.format('Channel')} Got {shown(name)}.")
        if receive and "!" in plain_str(name) and not plain_str(name).endswith("!"):
            raise TypeError(f"Specific channel names in receive() must end at the '!'. Got {shown(name)}.")
        return True

    def require_valid_group_name(self, name: Any) -> bool:
        """Return True for a legal group name.

        :raises TypeError: for any other value, saying what is allowed.
        """
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise TypeError(f"{self.invalid_name_error.format('Group')} Got {shown(name)}.")
        return True

    def valid_channel_names(self, names: Any, receive: bool = False) -> bool:
        """Return True for a list of one or more legal channel names.

        :raises TypeError: for anything else, saying what is allowed.
        """
        if not issubclass(type(names), list) or not list.__len__(names):
            raise TypeError(f"names must be a non-empty list of channel names. Got {shown(names)}.")
        for name in list.__iter__(names):
            self.require_valid_channel_name(name, receive=receive)
        return True

    def non_local_name(self, name: str) -> str:
        """The part of a process-specific name up to and including its ``!``; any other name whole."""
        remote, mark, _ = name.partition("!")
        return remote + mark

    def valid_channel_name(self, channel_name: Any, receive: bool = False) -> bool:
        """Deprecated: use :meth:`require_valid_channel_name`."""
        _warn_renamed("valid_channel_name", "require_valid_channel_name")
        return self.require_valid_channel_name(channel_name, receive=receive)

    def valid_group_name(self, group_name: Any) -> bool:
        """Deprecated: use :meth:`require_valid_group_name`."""
        _warn_renamed("valid_group_name", "require_valid_group_name")
        return self.require_valid_group_name(group_name)

    # What the verbs call: a name is looked at once, and not with every message

    def _forget_names(self) -> None:
        self._valid_channels: set[str] = set()
        self._own_channels: set[str] = set()
        self._valid_groups: set[str] = set()
        self._valid_prefixes: set[str] = set()

    def _admit_channel(self, channel: Any) -> str:
        if not self.require_valid_channel_name(channel):
            raise TypeError(f"{self.invalid_name_error.format('Channel')} Got {shown(channel)}.")
        return _remembered(self._valid_channels, channel)

    def _admit_own_channel(self, channel: Any) -> str:
        name = self._admit_channel(channel)
        if not self._may_receive(name):
            raise ForeignChannelError(
                f"channel {name!r} belongs to another process or layer, which alone may receive on it"
            )
        return _remembered(self._own_channels, name)

    def _admit_group(self, group: Any) -> str:
        if not self.require_valid_group_name(group):
            raise TypeError(f"{self.invalid_name_error.format('Group')} Got {shown(group)}.")
        return _remembered(self._valid_groups, group)

    def _admit_membership(self, group: Any, channel: Any) -> tuple[str, str]:
        if type(group) is not str or group not in self._valid_groups:
            group = self._admit_group(group)
        if type(channel) is not str or channel not in self._valid_channels:
            channel = self._admit_channel(channel)
        return group, channel

    def _admit_prefix(self, prefix: Any) -> str:
        if type(prefix) is str and prefix in self._valid_prefixes:
            return prefix
        if not self.match_type_and_length(prefix) or not self.group_name_regex.match(prefix):
            raise TypeError(f"{self.invalid_name_error.format('The prefix of a channel')} Got {shown(prefix)}.")
        return _remembered(self._valid_prefixes, prefix)

    def _new_name(self, prefix: str, client_id: str) -> str:
        """A fresh name under a prefix that has passed; it is valid, and need not be looked at again."""
        return _remembered(self._valid_channels, new_channel_name(prefix, client_id))

    def _may_receive(self, channel: str) -> bool:
        """Whether a channel may be received on here: it is normal, or specific to this process."""
        return True


def _remembered(names: set[str], name: str) -> str:
    if len(names) >= _NAMES_REMEMBERED:
        names.clear()
    plain = plain_str(name)
    names.add(plain)
    return plain


def _warn_renamed(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated, use {new} instead.", DeprecationWarning, stacklevel=3)
