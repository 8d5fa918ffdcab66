"""The command line: how long, over which layers, from which seed."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence

from soak.run import Run
from soak.sites import SITES


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="for all layers together (default: 600)")
    parser.add_argument("--layer", action="append", choices=sorted(SITES), help="only this one (repeatable)")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    parser.add_argument("--workers", type=int, default=4, help="processes at a time (default: 4)")
    chosen = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if chosen.seed is None else chosen.seed
    names = chosen.layer or [name for name, site in SITES.items() if site.is_available()]
    failed = []
    for name in names:
        again = f"python -m soak --layer {name} --seed {seed} --seconds {chosen.seconds / len(names):g}"
        print(f"{name}: seed {seed}; to repeat it: {again} --workers {chosen.workers}", flush=True)
        with SITES[name]() as site:
            run = Run(site, seed, chosen.workers, time.monotonic() + chosen.seconds / len(names))
            problems = run.go()
        for problem in problems:
            print(f"  FAILED {problem}", flush=True)
        if problems:
            failed.append(name)
    print(f"failed: {', '.join(failed)}; seed {seed}" if failed else "all invariants held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
