"""Ending a future that somebody may have given up."""

from __future__ import annotations

import asyncio
from typing import Any


def end(future: asyncio.Future[Any], result: Any = None) -> None:
    """End a future with a result, or with an exception; not if it was cancelled, or has ended before."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
