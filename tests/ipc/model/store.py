"""The ring of a normal channel as a model: it has less memory than places, begins at the front again where nothing
waits, and grows where that does not do.

Waiting is in ``normal``. Here senders push, a receiver takes, and whoever comes after a death puts right what it left.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, Step, explore

MISTAKES = {
    "head first": "who begins again at the front moves the head first: what lies between is taken for messages",
    "only counts": "who puts right what the dead have left counts again, and leaves the tail ahead of the head",
    "trusts the ring": "a sender looks for a free place, and not whether there is memory for it",
    "grows too much": "more memory is noted than there is, before it is there",
}

PLACES = 3


def shared() -> dict[str, Any]:
    return {
        "lock": None,
        "head": 1,
        "tail": 1,
        "count": 0,
        "dirty": False,
        "cells": (None,) * PLACES,
        "memory": 2,  # places that there is memory for, and that are noted
        "reserved": 2,
        "published": (),
        "delivered": (),
        "crash": False,
    }


def _lock(name: str) -> Step:
    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"] is not None:
            return WAIT
        state["lock"] = name
        return None

    return lock


def _mending(mistake: str) -> list[tuple[str, Step]]:
    def mend_head(state: dict[str, Any], own: dict[str, Any]) -> None:
        if state["dirty"] and mistake != "only counts":
            state["head"] = max(state["head"], state["tail"])

    def mend_count(state: dict[str, Any], own: dict[str, Any]) -> None:
        if state["dirty"]:
            state["count"] = max(0, state["head"] - state["tail"])

    def mended(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["dirty"] = False

    return [("mend head", mend_head), ("mend count", mend_count), ("mended", mended)]


def mark(state: dict[str, Any], own: dict[str, Any]) -> None:
    state["dirty"] = True


def unmark(state: dict[str, Any], own: dict[str, Any]) -> None:
    state["dirty"] = False


def sender(name: str, mistake: str, mortal: bool = True) -> Program:
    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["head"] - state["tail"] >= PLACES:
            return "full"
        if mistake == "trusts the ring" or state["head"] % PLACES < state["reserved"]:
            return "mark 2"
        if state["head"] == state["tail"]:
            return "mark"
        state["lock"] = None
        return "grow"

    def front(end: str) -> Step:
        def step(state: dict[str, Any], own: dict[str, Any]) -> None:
            state[end] += -state[end] % PLACES

        return step

    def grow(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        more = "reserved" if mistake == "grows too much" else "memory"
        state[more] = max(state[more], own["grown"])
        return None

    def note(state: dict[str, Any], own: dict[str, Any]) -> str:
        more = "memory" if mistake == "grows too much" else "reserved"
        state[more] = own["grown"]
        return "lock"

    def write(state: dict[str, Any], own: dict[str, Any]) -> None:
        at = state["head"] % PLACES
        state["crash"] = state["crash"] or at >= state["memory"]
        state["cells"] = (*state["cells"][:at], name, *state["cells"][at + 1 :])

    def publish(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["published"] += (name,)
        state["head"] += 1

    def count(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["count"] += 1

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str:
        state["lock"] = None
        return END

    to_front = [("tail", front("tail")), ("head", front("head"))]
    if mistake == "head first":
        to_front.reverse()
    steps = [
        ("lock", _lock(name)),
        *_mending(mistake),
        ("look", look),
        ("grow", grow),
        ("note", note),
        ("mark", mark),
        *to_front,
        ("mark 2", mark),
        ("write", write),
        ("publish", publish),
        ("count", count),
        ("unmark 2", unmark),
        ("full", lambda state, own: None),
        ("unlock", unlock),
    ]
    return Program(name, steps, {"grown": PLACES}, mortal=mortal)


def receiver(mistake: str) -> Program:
    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["head"] == state["tail"]:
            state["lock"] = None
            return "wait"
        own["taken"] = state["cells"][state["tail"] % PLACES]
        return None

    def pass_by(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["tail"] += 1

    def count(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["count"] -= 1

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str:
        state["lock"] = None
        state["delivered"] += (own["taken"],)
        return "lock"

    def wait(state: dict[str, Any], own: dict[str, Any]) -> str:
        return "lock" if len(state["delivered"]) < len(state["published"]) else WAIT

    steps = [
        ("lock", _lock("receiver")),
        *_mending(mistake),
        ("look", look),
        ("mark", mark),
        ("pass", pass_by),
        ("count", count),
        ("unmark", unmark),
        ("unlock", unlock),
        ("wait", wait),
    ]
    return Program("receiver", steps, {"taken": None}, mortal=False)


def at_death(state: dict[str, Any], name: str) -> None:
    if state["lock"] == name:
        state["lock"] = None


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    problem = None
    delivered, published = state["delivered"], state["published"]
    if state["crash"]:
        problem = "a sender wrote where there is no memory, and was killed by SIGBUS"
    elif delivered != published[: len(delivered)]:
        problem = "what was delivered is not what was published, in order"
    elif is_over and state["lock"] is not None:
        problem = "nothing goes on, and the lock is held"
    elif is_over and delivered != published:
        problem = "a message lies there, and the receiver waits"
    elif is_over and not state["dirty"] and state["count"] != 0:
        problem = "the channel is empty, and its count is not zero"
    return problem


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    programs = [sender("a", mistake), sender("b", mistake), sender("last", mistake, mortal=False), receiver(mistake)]
    return explore(shared(), programs, at_death, check, deaths)
