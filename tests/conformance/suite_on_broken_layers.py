"""The conformance suite on the unbroken layer and on broken ones: a test class for each.

No test of ours itself, for little of it shall pass: ``test_suite_catches.py`` runs it and judges the outcome.
"""

from __future__ import annotations

from typing import Any

from broken_layers import BROKEN_LAYERS, BrokenLayer
from recorder import task

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer


def _suite_on(layer_type: type[InMemoryChannelLayer], tests: list[str]) -> type[ChannelLayerConformance]:
    claims: dict[str, Any] = {}
    if issubclass(layer_type, BrokenLayer):
        # A broken layer often shows by what does not come: the deadline is what each such failure takes.
        claims = {"deadline": task["deadline"], **layer_type.claims}

    class Suite(ChannelLayerConformance):
        features = Features(cross_process=False, **claims)

        def make_layer(self, **config: Any) -> InMemoryChannelLayer:
            return layer_type(**config)

    for name in dir(Suite):
        if name.startswith("test_") and name not in tests:
            setattr(Suite, name, None)  # what is not collected takes no time
    return Suite


for _layer in (InMemoryChannelLayer, *BROKEN_LAYERS):
    if _layer.__name__ in task["tests"]:
        globals()[f"Test{_layer.__name__}"] = _suite_on(_layer, task["tests"][_layer.__name__])
