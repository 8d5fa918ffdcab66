"""``pytest -p tests.on_uvloop``: every event loop is one of uvloop's, as under Uvicorn."""

from __future__ import annotations

import asyncio
import warnings

import uvloop

with warnings.catch_warnings():
    # From Python 3.14. pytest-asyncio has no other way that all versions understand.
    warnings.simplefilter("ignore", DeprecationWarning)
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
