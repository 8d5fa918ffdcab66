"""The lock of a mailbox as a model: a favoured sender that comes in without the kernel, others that end its favour.

A store waits in its processor before others see it, as on x86: each process has a queue of its stores, and a program of
its own takes them out one by one, at any time. Whoever loads sees its own first. System calls, and the atomic step that
``door.py`` calls a fence, wait until the queue is empty. What is pushed is a counter: it is loaded, and then stored.

One of the senders leaves after its first push, and comes back to another slot.

The real door favours who has pushed twice in a row; here, whoever has pushed once.
"""

from __future__ import annotations

from typing import Any

from .explorer import END, WAIT, Program, explore

MISTAKES = {
    "no fence inside": "who is favoured says that it is inside, and looks before others can see it",
    "no fence outside": "who ends a favour looks whether anybody is inside before others can see the end",
    "one word": "all who are favoured say in the same word that they are inside",
    "leaves early": "who is favoured says that it is outside before it is",
    "looks once": "where nobody is favoured, nobody looks for one who lost it while inside",
    "no burial": "who died inside is inside for ever",
    "same number": "who leaves and comes back to another slot is still favoured, and looked for in the one that it had",
}

_SENDERS = "ab"
_SLOTS = ("a", "a2", "b")
_PUSHES = 2


def shared() -> dict[str, Any]:
    inside = {f"inside {slot}": False for slot in _SLOTS}
    return {
        "memory": {"favoured": "a", "last favoured": "a", "count": 0, **inside},
        "stores": {name: [] for name in (*_SENDERS, "owner")},
        "lock": None,
        "dead": [],
        "pushed": 0,
        "within": [],
    }


def store(state: dict[str, Any], name: str, word: str, value: Any) -> None:
    state["stores"][name].append((word, value))


def load(state: dict[str, Any], name: str, word: str) -> Any:
    for stored, value in reversed(state["stores"][name]):
        if stored == word:
            return value
    return state["memory"][word]


def processor(name: str) -> Program:
    """Lets others see the stores of a process, one by one."""

    def let_see(state: dict[str, Any], own: dict[str, Any]) -> str:
        if not state["stores"][name]:
            return WAIT
        word, value = state["stores"][name].pop(0)
        state["memory"][word] = value
        return "let see"

    return Program(f"processor of {name}", [("let see", let_see)], mortal=False)


def member(name: str, times: int, mistake: str) -> Program:
    """Pushes a few times; the owner, who is never favoured, does something else that must be alone."""
    is_sender = name in _SENDERS

    def inside_word(whose: str) -> str:
        return f"inside {'a' if mistake == 'one word' else whose}"

    def fence(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        return WAIT if state["stores"][name] else None

    def number(own: dict[str, Any]) -> str:
        return name if mistake == "same number" else str(own["slot"])

    def look(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        return None if load(state, name, "favoured") == number(own) else "lock"

    def enter(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        store(state, name, inside_word(own["slot"]), True)
        return "check" if mistake == "no fence inside" else None

    def check_favour(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if load(state, name, "favoured") != number(own):
            store(state, name, inside_word(own["slot"]), False)
            return "lock"
        if mistake == "leaves early":
            store(state, name, inside_word(own["slot"]), False)
        return None

    def begin(state: dict[str, Any], own: dict[str, Any]) -> None:
        state["within"].append(name)
        own["count"] = load(state, name, "count")

    def finish(state: dict[str, Any], own: dict[str, Any]) -> None:
        store(state, name, "count", own["count"] + 1)
        state["pushed"] += 1
        state["within"].remove(name)

    def leave(state: dict[str, Any], own: dict[str, Any]) -> str:
        store(state, name, inside_word(own["slot"]), False)
        return "next"

    def lock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["lock"] is not None or state["stores"][name]:
            return WAIT
        state["lock"] = name
        return None

    def end_favour(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        favoured = load(state, name, "favoured")
        if favoured == number(own):
            return "begin alone"
        if favoured is not None:
            store(state, name, "favoured", None)
            return "look inside" if mistake == "no fence outside" else None
        return "begin alone" if mistake == "looks once" else "look inside"

    def look_inside(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        own["other"] = load(state, name, "last favoured")
        return "give up" if load(state, name, inside_word(own["other"])) else "begin alone"

    def give_up(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["stores"][name]:
            return WAIT
        state["lock"] = None
        return None

    def bury(state: dict[str, Any], own: dict[str, Any]) -> str:
        if not state["memory"][inside_word(own["other"])]:
            return "lock"
        if own["other"][0] not in state["dead"] or mistake == "no burial":
            return WAIT
        state["memory"][inside_word(own["other"])] = False
        return "lock"

    def favour(state: dict[str, Any], own: dict[str, Any]) -> None:
        if is_sender:
            store(state, name, "last favoured", own["slot"])
            store(state, name, "favoured", number(own))

    def unlock(state: dict[str, Any], own: dict[str, Any]) -> str | None:
        if state["stores"][name]:
            return WAIT
        state["lock"] = None
        return None

    def go_on(state: dict[str, Any], own: dict[str, Any]) -> str:
        own["times"] += 1
        if own["slot"] == "a":
            own["slot"] = "a2"
        return END if own["times"] == times else "look"

    steps = [
        ("look", look),
        ("enter", enter),
        ("fence", fence),
        ("check", check_favour),
        ("begin", begin),
        ("finish", finish),
        ("leave", leave),
        ("lock", lock),
        ("end favour", end_favour),
        ("fence 2", fence),
        ("look inside", look_inside),
        ("give up", give_up),
        ("bury", bury),
        ("begin alone", begin),
        ("finish alone", finish),
        ("favour", favour),
        ("unlock", unlock),
        ("next", go_on),
    ]
    return Program(name, steps, {"times": 0, "count": 0, "other": None, "slot": name}, mortal=is_sender)


def at_death(state: dict[str, Any], name: str) -> None:
    # The kernel gives up what it held after everybody can see what it stored.
    state["memory"].update(state["stores"][name])
    state["stores"][name] = []
    state["dead"].append(name)
    if state["lock"] == name:
        state["lock"] = None
    if name in state["within"]:
        state["within"].remove(name)


def check(state: dict[str, Any], living: dict[str, dict[str, Any]], is_over: bool) -> str | None:
    """What is wrong with a state, if anything."""
    if len(state["within"]) > 1:
        return "two are inside at the same time"
    if not is_over:
        return None
    if any(living[name]["times"] < _times(name) for name in living if "times" in living[name]):
        return "nothing goes on, and somebody has not come in"
    if state["memory"]["count"] != state["pushed"]:
        return "what one has pushed was overwritten by another"
    return None


def _times(name: str) -> int:
    return _PUSHES if name in _SENDERS else 1


def run(mistake: str = "", deaths: int = 1) -> int:
    """Explore; how many states there are."""
    names = (*_SENDERS, "owner")
    programs = [member(name, _times(name), mistake) for name in names]
    programs += [processor(name) for name in names]
    return explore(shared(), programs, at_death, check, deaths)
