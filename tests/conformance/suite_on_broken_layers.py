"""The conformance suite on the unbroken layer and on broken ones: two test classes for each.

No test of ours itself, for much of it shall fail: ``test_suite_catches.py`` runs it and judges the outcome.
"""

from __future__ import annotations

from typing import Any

from broken_layers import BROKEN_LAYERS, BrokenLayer
from recorder import task

from channel_layers.conformance import ChannelLayerConformance, Features
from channel_layers.memory import InMemoryChannelLayer


def _suite_on(layer_type: type[InMemoryChannelLayer], tests: list[str], **also: Any) -> type[ChannelLayerConformance]:
    claims = {**layer_type.claims, **also} if issubclass(layer_type, BrokenLayer) else also

    class Suite(ChannelLayerConformance):
        features = Features(cross_process=False, **claims)

        def make_layer(self, **config: Any) -> InMemoryChannelLayer:
            return layer_type(**config)

    for name in dir(Suite):
        if name.startswith("test_") and name not in tests:
            setattr(Suite, name, None)  # what is not collected takes no time
    return Suite


for _layer in (InMemoryChannelLayer, *BROKEN_LAYERS):
    _name = _layer.__name__
    if _name in task["shall_fail"]:
        # A broken layer often shows by what does not come: the deadline is what each such failure takes.
        globals()[f"Test{_name}"] = _suite_on(_layer, task["shall_fail"][_name], deadline=task["deadline"])
    if _name in task["shall_pass"]:
        globals()[f"TestTheRestOf{_name}"] = _suite_on(_layer, task["shall_pass"][_name])
