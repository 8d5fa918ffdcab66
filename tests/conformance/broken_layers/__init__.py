"""Layers that each break one rule, to prove that the conformance suite notices.

A rule that no layer here breaks is a rule that the suite may have ceased to test.
"""

from . import attributes, capacity, delivery, groups, lifecycle, lifetimes, messages, names, sizes, statistics, waiting
from .base import BROKEN_LAYERS, EVERYTHING, BrokenLayer

__all__ = [
    "BROKEN_LAYERS",
    "EVERYTHING",
    "BrokenLayer",
    "attributes",
    "capacity",
    "delivery",
    "groups",
    "lifecycle",
    "lifetimes",
    "messages",
    "names",
    "sizes",
    "statistics",
    "waiting",
]
