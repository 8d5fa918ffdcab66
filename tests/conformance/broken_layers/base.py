"""What all broken layers share: the in-memory layer, the tests that must catch them, and a place to break it."""

from __future__ import annotations

from typing import Any, ClassVar

from channel_layers.groups import Groups
from channel_layers.inbox import Inbox
from channel_layers.memory import InMemoryChannelLayer

#: For ``also``: a layer that breaks this can do next to nothing else.
EVERYTHING = "everything"

BROKEN_LAYERS: list[type[BrokenLayer]] = []


class BrokenLayer(InMemoryChannelLayer):
    """An in-memory layer that breaks one rule; its docstring names the rule.

    Class arguments: ``caught_by``, the tests of that rule, each of which must fail; ``also``, further parts of the
    suite where tests may fail, since they cannot do without this rule. A failure elsewhere means that a test tests more
    than its name says.
    """

    caught_by: ClassVar[frozenset[str]]
    also: ClassVar[frozenset[str]]

    #: What the layer claims besides: fields of Features.
    claims: ClassVar[dict[str, Any]] = {}

    InboxType: ClassVar[type[Inbox]] = Inbox
    GroupsType: ClassVar[type[Groups]] = Groups

    def __init_subclass__(cls, *, caught_by: str = "", also: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.caught_by = frozenset(caught_by.split())
        cls.also = frozenset(also.split())
        if not cls.__name__.startswith("_"):
            BROKEN_LAYERS.append(cls)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._break()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._break()

    def _break(self) -> None:
        """Make what is broken, in a new layer and in the child of a fork."""
        self._inbox = self.InboxType(self.expiry, self.get_capacity)
        self._groups = self.GroupsType(self.group_expiry)

    def _claim(self, channel: str) -> Any:
        return None  # no short cut: every message comes by way of _receive(), where it can be broken
