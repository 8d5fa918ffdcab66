"""A bell as a model: a pipe that holds few rings and says for which channels, and a reader that looks at those alone.

What a sender does at each channel is in ``normal``. Here it is about what gets lost when the pipe is full.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, explore

MISTAKES = {
    "full is nothing special": "a reader that finds a full pipe looks only at the channels that it reads of",
    "looks first": "the reader looks at the channels, and takes the rings out after that",
    "forgets the busy": "the reader does not come back to a channel that was locked when it looked",
}

ROOM = 2  # rings that the pipe holds
_CHANNELS = ("x", "y", "z")


def shared() -> dict[str, Any]:
    nobody = dict.fromkeys(_CHANNELS)
    return {
        "pipe": (),
        "locks": nobody,
        "messages": dict.fromkeys(_CHANNELS, 0),
        "waits": dict.fromkeys(_CHANNELS, True),
    }


def sender(channel: str) -> Program:
    """Sends one message to a channel at which the reader waits."""

    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["locks"][channel]:
            return WAIT
        state["locks"][channel] = channel
        return None

    def ring(state: dict[str, Any], own: dict[str, Any]) -> None:
        if len(state["pipe"]) < ROOM:
            state["pipe"] += (channel,)

    def publish(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["messages"][channel] += 1

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str:
        state["locks"][channel] = None
        return END

    return Program(channel, [("lock", lock), ("ring", ring), ("publish", publish), ("unlock", unlock)])


def reader(mistake: str) -> Program:
    """Takes the message of each channel for which the bell rang, and waits there no more."""

    def hear(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if not state["pipe"]:
            return WAIT
        own["rung"] = tuple(sorted({*own["rung"], *state["pipe"]}))
        if len(state["pipe"]) == ROOM and mistake != "full is nothing special":
            own["rung"] = _CHANNELS
        if mistake != "looks first":
            state["pipe"] = ()
        return None

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if not own["rung"]:
            return "quiet"
        channel, *rest = own["rung"]
        own["rung"] = tuple(rest)
        if state["locks"][channel]:
            if mistake != "forgets the busy":
                own["busy"] = tuple(sorted({*own["busy"], channel}))
        elif state["messages"][channel]:
            state["waits"][channel] = False
        return "look"

    def quiet(state: dict[str, Any], own: dict[str, Any]) -> str:
        if mistake == "looks first":
            state["pipe"] = ()
        own["rung"], own["busy"] = own["busy"], ()
        return "look" if own["rung"] else "hear"

    steps = [("hear", hear), ("look", look), ("quiet", quiet)]
    return Program("reader", steps, {"rung": (), "busy": ()}, mortal=False)


def at_death(state: dict[str, Any], name: str) -> None:
    if state["locks"][name]:
        state["locks"][name] = None


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    if is_over and any(state["messages"][channel] and state["waits"][channel] for channel in _CHANNELS):
        return "nothing goes on, and a receiver waits beside a message"
    return None


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    return explore(shared(), [*map(sender, _CHANNELS), reader(mistake)], at_death, check, deaths)
