"""Many processes use a layer as wildly as they can, while processes and servers are killed; and what must hold, holds.

``python -m soak``, or ``make soak``. Read ``command.py`` first, then ``run.py`` (what happens when), ``worker.py`` (one
process) and ``checks.py`` (what must hold).
"""
