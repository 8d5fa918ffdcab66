"""What a prefix has in the file system of the shared memory."""

from __future__ import annotations

from pathlib import Path

from channel_layers.ipc.site import _FOLDER, Site

SHARED = Path(_FOLDER)


def remains(prefix: str) -> list[str]:
    """The names that a prefix has in the file system of the shared memory."""
    return sorted(path.name for path in SHARED.glob(Site(prefix).base[1:] + "*"))
