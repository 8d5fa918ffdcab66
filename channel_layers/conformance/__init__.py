"""The public test suite of channel layers: subclass one class, and your layer is held against the specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..extras import require_extra
from .features import Features

__all__ = ["ChannelLayerConformance", "Features"]

if TYPE_CHECKING:
    from .suite import ChannelLayerConformance
else:  # hidden from type checkers, for which the module would have every name

    def __getattr__(name: str) -> Any:
        """The suite, imported when it is asked for: it needs the test tools."""
        if name != "ChannelLayerConformance":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        for tool in ("pytest", "hypothesis"):
            require_extra(tool, "test", name)
        from .suite import ChannelLayerConformance

        globals()[name] = ChannelLayerConformance
        return ChannelLayerConformance
