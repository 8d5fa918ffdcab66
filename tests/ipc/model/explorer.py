"""Runs a few small programs in every possible interleaving, with a death before every step.

A program is a list of steps. A step is one thing that other processes can see as a whole: one store, one load that
matters, one system call. It gets the shared state and its process's own variables, both to be changed in place, and
returns the name of the step to go on with, None for the next one, WAIT if it cannot be done now, or END.

The explorer visits each state once. It reports the first one in which ``check`` finds a fault, with the way that led
there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

WAIT, END = "(wait)", "(end)"  # no names of steps

Step = Callable[[dict[str, Any], dict[str, Any]], "str | None"]


@dataclass
class Program:
    """What one process does.

    :param mortal: whether it may be killed. A stop is not modelled: it is a process that others overtake.
    """

    name: str
    steps: Sequence[tuple[str, Step]]
    own: dict[str, Any] = field(default_factory=dict)
    mortal: bool = True


class FaultError(Exception):
    """A state that must not be, and the steps that lead there."""

    def __init__(self, problem: str, way: list[str], state: Any) -> None:
        super().__init__(f"{problem}\n  after: {' > '.join(way)}\n  state: {state}")
        self.problem = problem


def explore(
    shared: dict[str, Any],
    programs: Sequence[Program],
    at_death: Callable[[dict[str, Any], str], None],
    check: Callable[[dict[str, Any], dict[str, dict[str, Any]], bool], str | None],
    deaths: int = 1,
) -> int:
    """Visit all states; how many there are.

    :param at_death: what the kernel does for a process that is killed, by its name.
    :param check: gets the shared state, the own variables of each process that lives, and whether nothing can go on;
        returns what is wrong.
    :param deaths: how many processes may be killed on one way.
    """
    places = [{name: at for at, (name, _) in enumerate(program.steps)} for program in programs]
    first = (shared, [dict(program.own) for program in programs], [0] * len(programs), deaths)
    todo: list[tuple[Any, list[str]]] = [(first, [])]
    seen = {_frozen(first)}
    while todo:
        (state, owns, at, lives), way = todo.pop()
        following: list[tuple[Any, str]] = []
        moved = False
        for who, program in enumerate(programs):
            if at[who] < 0:
                continue
            name, step = program.steps[at[who]]
            new_state, new_owns, new_at = _copied(state), _copied(owns), list(at)
            to = step(new_state, new_owns[who])
            if to != WAIT:
                new_at[who] = -1 if to == END else places[who][to] if to is not None else at[who] + 1
                following.append(((new_state, new_owns, new_at, lives), f"{program.name}.{name}"))
                moved = True
            if program.mortal and lives:
                dead_state, dead_at = _copied(state), list(at)
                dead_at[who] = -2
                at_death(dead_state, program.name)
                following.append(((dead_state, owns, dead_at, lives - 1), f"{program.name} dies before {name}"))
        living = {program.name: owns[who] for who, program in enumerate(programs) if at[who] != -2}
        problem = check(state, living, not moved)
        if problem is not None:
            raise FaultError(problem, way, (state, owns, at))
        for new, label in following:
            key = _frozen(new)
            if key not in seen:
                seen.add(key)
                todo.append((new, [*way, label]))
    return len(seen)


def _copied(value: Any) -> Any:
    # A state is dicts and lists of what does not change: copy.deepcopy() would take ten times as long.
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple((key, _frozen(item)) for key, item in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    return value
