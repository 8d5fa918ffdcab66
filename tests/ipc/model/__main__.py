"""Explores all models, and each of their mistakes: ``cd tests/ipc && python -m model``."""

from __future__ import annotations

from . import directory, door, mailbox, normal
from .explorer import FaultError

for model in (mailbox, door, directory, normal):
    name = model.__name__.rpartition(".")[2]
    for deaths in (0, 1, 2):
        print(f"{name}, up to {deaths} deaths: {model.run(deaths=deaths):,} states, no fault")
    for mistake in model.MISTAKES:
        try:
            model.run(mistake)
        except FaultError as fault:
            print(f"{name} with the mistake {mistake!r}: {fault}")
        else:
            raise SystemExit(f"{name} with the mistake {mistake!r}: no fault was found")
