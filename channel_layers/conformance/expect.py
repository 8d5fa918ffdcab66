"""Checks that say what was expected. They raise by themselves, so that ``python -O`` cannot switch them off."""

from __future__ import annotations

import math
import reprlib
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 200
_short.maxdict = _short.maxlist = 12


def shown(value: Any) -> str:
    """A value as the text of a failure shows it: never a megabyte."""
    return _short.repr(value)


class Failure(AssertionError):  # noqa: N818 - it is what pytest shows in front of the message
    """A check of the suite that failed; a layer may raise AssertionErrors of its own."""


def fail(message: str) -> Failure:
    """The error of a test that failed; to be raised."""
    return Failure(message)


def expect(condition: object, message: str) -> None:
    """Fail with ``message``, which says what was expected, unless the condition holds."""
    __tracebackhide__ = True
    if not condition:
        raise fail(message)


def expect_equal(got: Any, wanted: Any, rule: str) -> None:
    """Fail unless the two are the same down to the exact types: ``True`` is not ``1``, a tuple no list."""
    __tracebackhide__ = True
    difference = _difference(got, wanted, "")
    if difference:
        raise fail(f"{rule}: expected {shown(wanted)}, got {shown(got)}; {difference}")


async def expect_error(
    kinds: type[BaseException] | tuple[type[BaseException], ...], call: Callable[[], Awaitable[Any]], rule: str
) -> Any:
    """Fail unless the call raises one of these exceptions, in the call itself or when awaited; return it."""
    __tracebackhide__ = True
    wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
    try:
        result = await call()
    except kinds as error:
        return error
    except Failure:
        raise
    except Exception as error:
        raise fail(f"{rule}: expected {wanted}, got {type(error).__name__}: {error}") from error
    raise fail(f"{rule}: expected {wanted}, but it returned {shown(result)}")


def _difference(got: Any, wanted: Any, path: str) -> str:
    """Where the two differ, in words; empty if they are the same."""
    difference = ""
    if type(got) is not type(wanted):
        difference = f"{type(got).__name__} instead of {type(wanted).__name__}"
    elif isinstance(wanted, dict):
        if got.keys() == wanted.keys():
            return _first_difference(((key, got[key], wanted[key]) for key in wanted), path)
        difference = f"keys {shown(sorted(got.keys() ^ wanted.keys(), key=repr))} are missing or too many"
    elif isinstance(wanted, (list, tuple)):
        if len(got) == len(wanted):
            return _first_difference(((n, *both) for n, both in enumerate(zip(got, wanted, strict=True))), path)
        difference = f"{len(got)} items instead of {len(wanted)}"
    elif not _same_scalar(got, wanted):
        difference = f"{shown(got)} instead of {shown(wanted)}"
    return difference and f"at {path or 'the top'}: {difference}"


def _first_difference(pairs: Iterable[tuple[Any, Any, Any]], path: str) -> str:
    return next(filter(None, (_difference(got, wanted, f"{path}[{step!r}]") for step, got, wanted in pairs)), "")


def _same_scalar(got: Any, wanted: Any) -> bool:
    if isinstance(wanted, float):
        return (math.isnan(got) and math.isnan(wanted)) or struct.pack("d", got) == struct.pack("d", wanted)
    return bool(got == wanted)
