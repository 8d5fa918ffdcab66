"""The end of a site as a model: the last one removes everything, while others begin to join.

The lock file is opened, locked, and looked at again: whoever locked a file that has been removed begins anew. Without
that look, two processes would hold the lock of two files, and each think itself the first.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, explore

MISTAKES = {
    "no second look": "whoever opened the lock file before it was removed goes on with it",
    "removed unlocked": "the last one removes the lock file after it has released the lock",
}


def shared() -> dict[str, Any]:
    # ``file`` is which file has the name; ``locks`` who holds which file; ``contents`` of which file's users the
    # directory is, None if there is none.
    return {"file": None, "made": 0, "locks": {}, "lives": {}, "contents": None, "joined": []}


def member(name: str, mistake: str) -> Program:
    """Joins and leaves."""

    def open_file(state: dict[str, Any], own: dict[str, Any]) -> None:
        if state["file"] is None:
            state["made"] += 1
            state["file"] = state["made"]
        own["file"] = state["file"]

    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if own["file"] in state["locks"]:
            return WAIT
        state["locks"][own["file"]] = name
        return None

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["file"] != own["file"] and mistake != "no second look":
            del state["locks"][own["file"]]
            return "open"
        return None

    def join(state: dict[str, Any], own: dict[str, Any]) -> None:
        if own["file"] not in state["lives"].values():  # nobody lives: what is there is of the dead
            state["contents"] = own["file"]
        state["lives"][name] = own["file"]
        state["joined"].append(name)

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> None:
        del state["locks"][own["file"]]

    def leave(state: dict[str, Any], own: dict[str, Any]) -> None:
        del state["lives"][name]
        state["joined"].remove(name)
        own["last"] = own["file"] not in state["lives"].values()

    def remove_contents(state: dict[str, Any], own: dict[str, Any]) -> None:
        if own["last"]:
            state["contents"] = None

    def remove_file(state: dict[str, Any], own: dict[str, Any]) -> None:
        if own["last"]:
            state["file"] = None

    def end(state: dict[str, Any], own: dict[str, Any]) -> str:
        return END

    leaving = [("remove contents", remove_contents), ("remove file", remove_file), ("unlock 2", unlock)]
    if mistake == "removed unlocked":
        leaving[1:] = [("unlock 2", unlock), ("remove file", remove_file)]
    steps = [
        ("open", open_file),
        ("lock", lock),
        ("look", look),
        ("join", join),
        ("unlock", unlock),
        ("lock 2", lock),
        ("leave", leave),
        *leaving,
        ("end", end),
    ]
    return Program(name, steps, {"file": None, "last": False})


def at_death(state: dict[str, Any], name: str) -> None:
    state["locks"] = {file: holder for file, holder in state["locks"].items() if holder != name}
    state["lives"].pop(name, None)
    if name in state["joined"]:
        state["joined"].remove(name)


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    if len(set(state["lives"].values())) > 1:
        return "two processes live in two sites of the same name"
    if state["joined"] and state["contents"] is None:
        return "the directory of a living process was removed"
    if is_over and state["locks"]:
        return "nothing goes on, and a lock is held"
    return None


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    return explore(shared(), [member(name, mistake) for name in "abc"], at_death, check, deaths)
