"""The mailbox as a model: senders that push, an owner that takes with and without the lock, a death anywhere.

``mistake`` turns it into one of the protocols that look right and are not; see ``MISTAKES``.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, explore

MISTAKES = {
    "wake late": "the owner is woken after the lock is released: a death in between, and a message lies unannounced",
    "publish early": "head passes the record before its bytes are there",
    "any ring will do": "who has rung before it has the lock does not ring again, though the owner sleeps once more",
    "sleep unlocked": "the owner falls asleep after releasing the lock: a message that came in between lies there",
    "no mark": "a death between counting and publishing is not noted: the channel is full for ever",
    "publish what is being read": "tail passes the records of this batch, which are not copied yet",
}

ROOM = 2  # records that the ring holds


def shared() -> dict[str, Any]:
    return {
        "lock": None,
        "head": 0,
        "tail": 0,
        "cells": [None] * ROOM,  # None: half written, or never
        "sleeping": 0,  # the number of the sleep
        "sleeps": 0,
        "bell": True,  # the owner looks once when it begins to read
        "dirty": False,
        "rebuild": False,
        "sent": 0,
        "left": 0,
        "published": [],
        "delivered": [],
        "refused": [],
        "too late": False,
    }


def sender(name: str, mistake: str, mortal: bool = True) -> Program:
    def see_asleep(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        own["rung"] = state["sleeping"]
        return None if own["rung"] else "lock"

    def ring_early(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["bell"] = True

    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"] is not None:
            return WAIT
        state["lock"] = name
        return None

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["dirty"]:
            state["rebuild"] = True
        if state["head"] - state["tail"] >= ROOM:
            state["refused"].append(name)
            return "unlock"
        return None

    def mark(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["dirty"] = mistake != "no mark"

    def wake(state: dict[str, Any], own: dict[str, Any]) -> None:
        has_rung = bool(own["rung"]) if mistake == "any ring will do" else own["rung"] == state["sleeping"]
        if state["sleeping"] and not has_rung:
            state["bell"] = True

    def awake(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["sleeping"] = 0

    def count(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["sent"] += 1

    def begin(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["cells"][state["head"] % ROOM] = None

    def write(state: dict[str, Any], own: dict[str, Any]) -> None:
        at = state["head"] - (mistake == "publish early")
        state["cells"][at % ROOM] = name

    def publish(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["published"].append(name)
        state["head"] += 1

    def unmark(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["dirty"] = False

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        state["lock"] = None
        return None if mistake == "wake late" else END

    def wake_late(state: dict[str, Any], own: dict[str, Any]) -> str:
        if state["sleeping"]:
            state["bell"], state["sleeping"] = True, 0
        return END

    waking = [] if mistake == "wake late" else [("wake", wake), ("awake", awake)]
    writing = [("write", write), ("publish", publish)]
    if mistake == "publish early":
        writing.reverse()
    early = [] if mistake == "wake late" or name != "a" else [("see asleep", see_asleep), ("ring early", ring_early)]
    steps = [
        *early,
        ("lock", lock),
        ("look", look),
        ("mark", mark),
        *waking,
        ("count", count),
        ("begin", begin),
        *writing,
        ("unmark", unmark),
        ("unlock", unlock),
    ]
    if mistake == "wake late":
        steps.append(("wake", wake_late))
    return Program(name, steps, {"rung": 0}, mortal=mortal)


def fall_asleep(state: dict[str, Any]) -> None:
    state["sleeps"] += 1
    state["sleeping"] = state["sleeps"]


def owner(mistake: str) -> Program:
    """Waits for the bell; takes what there is without the lock; takes the lock to go to sleep."""

    def wait(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if not state["bell"]:
            return WAIT
        state["bell"] = False
        return None

    def peek(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        own["until"] = state["head"]
        state["tail"] = own["until"] if mistake == "publish what is being read" else own["taken"]
        return "lock" if own["until"] == own["taken"] else None

    def copy(state: dict[str, Any], own: dict[str, Any]) -> str:
        state["delivered"].append(state["cells"][own["taken"] % ROOM])
        own["taken"] += 1
        state["left"] += 1
        return "copy" if own["taken"] < own["until"] else "peek"

    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"] is not None:
            return WAIT
        state["lock"] = "owner"
        return None

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["dirty"]:
            state["rebuild"], state["dirty"] = True, False
        state["tail"] = own["taken"]
        own["until"] = state["head"]
        return "unlock" if own["until"] != own["taken"] else None

    def mend(state: dict[str, Any], own: dict[str, Any]) -> None:
        if state["rebuild"]:
            state["left"], state["rebuild"] = state["sent"], False

    def sleep(state: dict[str, Any], own: dict[str, Any]) -> None:
        if mistake != "sleep unlocked":
            fall_asleep(state)

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        state["lock"] = None
        if own["until"] != own["taken"]:
            return "peek"
        return "late" if mistake == "sleep unlocked" else "wait"

    def late(state: dict[str, Any], own: dict[str, Any]) -> str:
        fall_asleep(state)
        return "wait"

    steps = [
        ("wait", wait),
        ("peek", peek),
        ("copy", copy),
        ("lock", lock),
        ("look", look),
        ("mend", mend),
        ("sleep", sleep),
        ("unlock", unlock),
        ("late", late),
    ]
    return Program("owner", steps, {"taken": 0, "until": 0}, mortal=False)


def at_death(state: dict[str, Any], name: str) -> None:
    if state["lock"] == name:
        state["lock"] = None
    state["too late"] = "last" in state["published"]  # to be put right by who comes after


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    delivered, published = state["delivered"], state["published"]
    if len(set(delivered)) < len(delivered):
        return "a message was delivered twice"
    if delivered != published[: len(delivered)]:
        return "what was delivered is not what was published, in order"
    if not is_over:
        return None
    problem = None
    if state["lock"] is not None:
        problem = "nothing goes on, and the lock is held"
    elif delivered != published:
        problem = "a message lies there, and nobody comes for it"
    is_clean = state["sent"] == state["left"] and not state["dirty"] and not state["rebuild"]
    if problem is None and "last" in published and not state["too late"] and not is_clean:
        problem = "the counters are wrong, and a sender after the death did not have them put right"
    return problem


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    # Whoever sends last is not killed: it stands for all who come after a death. One rings early: a ring for nothing
    # of another would only be one more of those.
    programs = [sender("a", mistake), sender("b", mistake), sender("last", mistake, mortal=False), owner(mistake)]
    return explore(shared(), programs, at_death, check, deaths)
