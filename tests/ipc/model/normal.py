"""A normal channel as a model: who waits there leaves a mark, who sends rings for all marks, and nobody waits beside a
message.

Two receivers, in one process or in two, take one message each and go. Another process sends.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, Step, explore

MISTAKES = {
    "no passing on": "a receiver that was woken takes a message and goes, and wakes nobody",
    "looks unlocked": "a process that hears the bell looks for messages without the lock",
    "rings last": "a sender publishes the message first, and rings then",
}

#: Receivers by process.
SHAPES = {"p": 2}, {"p": 1, "q": 1}

_PROCESSES = "pq"
_MESSAGES = 3


def shared() -> dict[str, Any]:
    # By process: whether it has left its mark, whether its bell rings, who waits in it, in order, and who was woken.
    by_process: dict[str, Any] = {"marks": False, "bells": False, "waiters": (), "woken": ()}
    state = {name: dict.fromkeys(_PROCESSES, value) for name, value in by_process.items()}
    return {**state, "lock": None, "messages": 0}


def wake(state: dict[str, Any], process: str, count: int) -> None:
    waiters = state["waiters"][process]
    state["woken"][process] += waiters[:count]
    state["waiters"][process] = waiters[count:]


def sender(mistake: str) -> Program:
    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"]:
            return WAIT
        state["lock"] = "sender"
        return None

    def ring(process: str) -> Step:
        def step(state: dict[str, Any], own: dict[str, Any]) -> None:
            state["bells"][process] = state["bells"][process] or state["marks"][process]

        return step

    def clear(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["marks"] = dict.fromkeys(_PROCESSES, False)

    def publish(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["messages"] += 1

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str:
        state["lock"] = None
        own["sent"] += 1
        return "lock" if own["sent"] < _MESSAGES else "end"

    def end(state: dict[str, Any], own: dict[str, Any]) -> str:
        return END

    ringing = [*((f"ring {process}", ring(process)) for process in _PROCESSES), ("clear", clear)]
    steps = [*ringing, ("publish", publish)]
    if mistake == "rings last":
        steps = [("publish", publish), *ringing]
    return Program("sender", [("lock", lock), *steps, ("unlock", unlock), ("end", end)], {"sent": 0})


def receiver(process: str, name: str, mistake: str) -> Program:
    def wait(state: dict[str, Any], own: dict[str, Any]) -> None:
        waiters = state["waiters"][process]
        state["waiters"][process] = (name, *waiters) if own["woken"] else (*waiters, name)

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"]:
            return WAIT
        if state["messages"]:
            state["messages"] -= 1
            return "go"
        state["marks"][process] = True
        return None

    def sleep(state: dict[str, Any], own: dict[str, Any]) -> str:
        if name not in state["woken"][process]:
            return WAIT
        state["woken"][process] = tuple(each for each in state["woken"][process] if each != name)
        own["woken"] = True
        return "wait"

    def go(state: dict[str, Any], own: dict[str, Any]) -> str:
        was_waiting = name in state["waiters"][process]
        for place in ("waiters", "woken"):
            state[place][process] = tuple(each for each in state[place][process] if each != name)
        if not was_waiting or (own["woken"] and mistake != "no passing on"):
            wake(state, process, 1)
        return END

    steps: list[tuple[str, Step]] = [("wait", wait), ("look", look), ("sleep", sleep), ("go", go)]
    return Program(name, steps, {"woken": False}, mortal=False)


def watcher(process: str, mistake: str) -> Program:
    """The event loop of a process, where it hears its bell."""

    def hear(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if not state["bells"][process]:
            return WAIT
        state["bells"][process] = False
        return None

    def look(state: dict[str, Any], own: dict[str, Any]) -> str:
        if state["lock"] and mistake != "looks unlocked":
            return WAIT
        if state["messages"]:
            wake(state, process, state["messages"])
        elif mistake != "looks unlocked":
            state["marks"][process] = True
        return "hear"

    return Program(f"loop of {process}", [("hear", hear), ("look", look)], mortal=False)


def at_death(state: dict[str, Any], name: str) -> None:
    if state["lock"] == name:
        state["lock"] = None


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    if is_over and state["messages"] and any(state["waiters"].values()):
        return "nothing goes on, and a receiver waits beside a message"
    return None


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    count = 0
    for receivers in SHAPES:
        programs = [sender(mistake)]
        for process, here in receivers.items():
            programs.append(watcher(process, mistake))
            programs += [receiver(process, f"{process}{number}", mistake) for number in range(here)]
        count += explore(shared(), programs, at_death, check, deaths)
    return count
